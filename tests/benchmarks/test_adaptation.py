"""New users served by MAML with two hidden layers: adapted together beside autograd, user by user."""

from __future__ import annotations

import pytest
import torch

import benchmark as suite
from baselines.nn.gradient_model import GradientLearner
from tests.reference import maml

pytestmark = pytest.mark.data
K = 5
REFERENCE = "autograd, user by user"


@pytest.fixture(scope="module")
def served(real_data):
    """(learner, its model in plain form, supports of `n` users as both read them)."""
    split = suite.load_board("user-rating", "ml-1m", data_dir=real_data)
    method = maml.METHODS["maml"]
    model = method.model(split.world, 0)  # untrained: as fast as if it were
    with torch.no_grad():
        model.b.normal_(0, 0.1, generator=torch.Generator().manual_seed(0))
    pool = split.test.support(K)

    def of(n):
        support = pool[torch.arange(n) % len(pool)]
        return support, maml.shown(model, support, support.partner, support.rating)

    return GradientLearner(model, model.frozen(), method.rule(model)), maml.content(model), method.rating_inner_rate, of


def weights(phi):
    """The weights of one user as the learner's state names them."""
    return [w.T if w.dim() == 2 else w[None] for w in phi.values()]


@pytest.mark.parametrize("n", [1, 512])
def test_adapt(beside, timed, served, n):
    learner, content, rate, of = served
    n = n if timed else min(n, 16)
    support, batch = of(n)
    found, wanted = beside(
        f"maml, {n} user{'s' * (n > 1)} adapted, k = {K}",
        lambda: learner.adapt(support),
        lambda: [maml.adapted(content, batch, t, content.entity(batch.entity[t : t + 1]), rate) for t in range(n)],
        reference=REFERENCE,
        rounds=100 if n == 1 else 9,
    )
    for t, phi in enumerate(wanted):
        for place, w in enumerate(weights(phi)):
            torch.testing.assert_close(found[f"phi_{place}"][t], w, rtol=0, atol=1e-6)


@pytest.mark.parametrize("n", [1, 512])
def test_adapt_and_rank(beside, timed, served, n):
    learner, content, rate, of = served
    n = n if timed else min(n, 16)
    support, batch = of(n)
    everything = torch.arange(len(content.b))

    def by_autograd():
        found = []
        for t in range(n):
            own = content.entity(batch.entity[t : t + 1])
            phi = maml.adapted(content, batch, t, own, rate)
            with torch.no_grad():
                found.append(maml.predicted(content, phi, own, everything).topk(10).values)
        return torch.stack(found)

    def ours():
        state = learner.adapt(support)
        base = learner.model.bias.predict(state["entity"])
        return (learner.score(state) - base).topk(10).values

    found, wanted = beside(
        f"maml, {n} user{'s' * (n > 1)} adapted, every film ranked", ours, by_autograd, reference=REFERENCE, rounds=50 if n == 1 else 5
    )
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
