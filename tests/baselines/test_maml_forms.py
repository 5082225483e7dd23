"""The fast form of second-order MAML equals the loop over tasks and the plain vmap, loss and gradients, in float64."""

from __future__ import annotations

import torch

from tests.benchmarks.maml_throughput import METHOD, batch, forms


def _episode(world):
    """Eight warm users with supports of 1 to 20 rows."""
    from benchmark.contract import Support
    from benchmark.protocol.tasks import Episode, Histories

    histories = Histories(world.ratings, world.n_entities)
    entity = torch.nonzero(histories.rows >= 30).flatten()[:8]
    row = histories.offset[entity, None] + torch.arange(30)
    mask = torch.arange(20) < torch.tensor([1, 2, 3, 5, 8, 12, 17, 20])[:, None]
    partner, rating = histories.partner[row], histories.rating[row].double()
    shown = Support(entity, partner[:, :20] * mask, rating[:, :20] * mask, partner[:, :20] * 0, mask)
    return Episode(shown, shown.partner, partner[:, 20:], rating[:, 20:], torch.ones(8, 10, dtype=torch.bool))


def test_three_forms_are_one(oracle):
    world = oracle("interaction", "rating", "melu").world
    model = METHOD.model(world, 0).double()
    bias = model.bias
    model.bias = type(bias)(bias.mean.double(), bias.partner.double(), bias.entity_damping)
    episode = _episode(world)
    with torch.no_grad():
        model.b.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    assert batch(model, episode).y.dtype == torch.float64
    found = {}
    for name, (loss, parameters) in forms(model).items():
        value = loss(episode)
        found[name] = [value, *torch.autograd.grad(value, parameters, allow_unused=True)]
    n_theta = len(model.theta)
    for name in ("vmap", "suite"):
        torch.testing.assert_close(found[name][0], found["loop"][0], rtol=0, atol=1e-10)
    for one, other in zip(found["vmap"][1:], found["loop"][1:], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    by_name = dict(zip([name for name, _ in model.named_parameters()], found["suite"][1:], strict=True))
    for place in range(n_theta):  # the network holds its weights turned
        ours, theirs = by_name[f"theta.{place}"], found["loop"][1 + place]
        torch.testing.assert_close(ours.T if place % 2 == 0 else ours[0], theirs, rtol=0, atol=1e-10)
    torch.testing.assert_close(by_name["b"], found["loop"][-1], rtol=0, atol=1e-10)
    torch.testing.assert_close(by_name["encoder.numbers"], found["loop"][1 + n_theta], rtol=0, atol=1e-10)
