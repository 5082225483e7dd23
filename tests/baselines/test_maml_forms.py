"""The fast form of second-order MAML equals the loop over tasks and the plain vmap, loss and gradients, in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.reference.maml import METHODS, batch, forms


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


@pytest.mark.parametrize(("name", "known"), [("melu", 0), ("melu", 3), ("maml", 0)])
def test_four_forms_are_one(oracle, name, known):
    """The loop, the vmap, the dual under autograd, and the gradient written by hand; `known` features of the entity."""
    world = oracle("interaction", "rating", "melu").world
    own = torch.randn(world.n_entities, known, generator=torch.Generator().manual_seed(1))
    # Supports of 90 rows, as in the split of MeLU, are of those that are trained on.
    world = replace(world, entity_features=replace(world.entity_features, dense=own), shots=(0, 90))
    method = METHODS[name]
    model = method.model(world, 0).double()
    bias = model.bias
    model.bias = type(bias)(bias.mean.double(), bias.partner.double(), bias.entity_damping)
    episode = _episode(world)
    with torch.no_grad():
        model.b.normal_(0, 0.1, generator=torch.Generator().manual_seed(2))
    assert batch(model, episode).y.dtype == torch.float64
    found = {}
    for form, (loss, parameters) in forms(method, model).items():
        value = loss(episode)
        found[form] = [value, *torch.autograd.grad(value, parameters, allow_unused=True)]
    n_theta = len(model.theta)
    rule = method.rule(model)
    value = model.outer_loss(model.now(), rule(model.now(), episode.support), episode)
    parameters = list(model.parameters())
    found["dual"] = [value, *torch.autograd.grad(value, parameters, allow_unused=True)]
    for one, other in zip(found["suite"], found["dual"], strict=True):  # every number that is learned
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    for form in ("vmap", "suite"):
        torch.testing.assert_close(found[form][0], found["loop"][0], rtol=0, atol=1e-10)
    for one, other in zip(found["vmap"][1:], found["loop"][1:], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)
    by_name = dict(zip([label for label, _ in model.named_parameters()], found["suite"][1:], strict=True))
    for place in range(n_theta):  # the network holds its weights turned
        ours, theirs = by_name[f"theta.{place}"], found["loop"][1 + place]
        torch.testing.assert_close(ours.T if place % 2 == 0 else ours[0], theirs, rtol=0, atol=1e-10)
    torch.testing.assert_close(by_name["b"], found["loop"][-1], rtol=0, atol=1e-10)
    table = "encoder.numbers" if name == "melu" else "encoder.identity"
    torch.testing.assert_close(by_name[table], found["loop"][1 + n_theta], rtol=0, atol=1e-10)
