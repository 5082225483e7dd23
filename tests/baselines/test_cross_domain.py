"""Two domains that share a taste: what cross-domain methods must make of source rows, and may not of another's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pytest
import torch
from torch import Tensor

from baselines.nn.domains import signal
from baselines.transfer.emcdr import EMCDR
from baselines.transfer.ptupcdr import PTUPCDR
from benchmark.contract import Features, Learner, Ratings, Support, World
from benchmark.trust import laws

N, P, ROWS, COLD, QUERY = 400, 60, 15, 100, 10  # entities, partners a domain, rows a domain, cold entities, rows asked for
GOALS = ("ranking", "implicit", "rating")
METHODS = {"emcdr": EMCDR, "ptupcdr": PTUPCDR}


@dataclass(frozen=True, eq=False)
class Made:
    world: World
    partner: Tensor  # [COLD, 2 * ROWS] of each cold entity: ROWS of the source, then ROWS of the target
    rating: Tensor  # [COLD, 2 * ROWS]

    def support(self, k: int, order: Tensor | None = None) -> Support:
        """All source rows, of the entity that `order` names, and k target rows."""
        shown, n = slice(0, ROWS + k), len(self.partner)
        order = torch.arange(n) if order is None else order
        partner, rating = self.partner[:, shown].clone(), self.rating[:, shown].clone()
        partner[:, :ROWS], rating[:, :ROWS] = self.partner[order, :ROWS], self.rating[order, :ROWS]
        return Support(torch.arange(N, N + n), partner, rating, partner * 0, torch.ones_like(partner, dtype=torch.bool))


@lru_cache
def made(goal: str) -> Made:
    """Target partners are 0 .. P - 1. The better a partner fits an entity, the likelier she meets it, and the higher her rating."""
    luck = torch.Generator().manual_seed(0)
    taste, facts = torch.randn(N + COLD, 3, generator=luck), torch.randn(2 * P, 3, generator=luck)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=luck)).Q  # the same taste shows in other words in the source
    fit = taste @ facts.T
    fit[:, P:] = taste @ turn @ facts[P:].T
    popular = torch.randn(2 * P, generator=luck)
    gumbel = -(-torch.rand(N + COLD, 2 * P, generator=luck).clamp(1e-6, 1 - 1e-6).log()).log()
    keys = (popular + fit * (goal != "rating") + gumbel).view(N + COLD, 2, P)
    target, source = (keys[:, side].topk(ROWS, 1).indices + side * P for side in (0, 1))
    partner = torch.cat([source, target.gather(1, torch.rand(N + COLD, ROWS, generator=luck).argsort(1))], 1)
    noise = 0.3 * torch.randn(partner.shape, generator=luck)
    rating = (5.0 + fit.gather(1, partner) + noise).clamp(0, 10) if goal != "implicit" else torch.ones(partner.shape)
    order = partner[:N].argsort(1)
    rows = Ratings(
        torch.arange(N).repeat_interleave(2 * ROWS),
        partner[:N].gather(1, order).flatten(),
        rating[:N].gather(1, order).flatten(),
        torch.zeros(N * 2 * ROWS, dtype=torch.int64),
    )
    world = World(
        rows,
        N + COLD,
        2 * P,
        Features.empty(N + COLD),
        Features.empty(2 * P),
        torch.ones(2 * P, dtype=torch.bool),
        torch.arange(2 * P) < P,
        (torch.arange(2 * P) >= P).long(),
        "rating" if goal == "rating" else "ranking",
        (0, 1, 5),
        (0.0, 10.0) if goal != "implicit" else (1.0, 1.0),
        5.0 if goal != "implicit" else 1.0,
    )
    return Made(world, partner[N:], rating[N:])


def quality(learner: Learner, one: Made, support: Support) -> float:
    """Of the last QUERY target rows: recall@10 among target partners less the five that may be shown, or minus the error."""
    scores = learner.score(learner.adapt(support)).detach()
    asked, given = one.partner[:, -QUERY:], one.rating[:, -QUERY:]
    if one.world.goal == "rating":
        return -float((scores.gather(1, asked) - given).abs().mean())
    return recall(scores, one)


def recall(scores: Tensor, one: Made) -> float:
    scores = scores[:, :P].scatter(1, one.partner[:, ROWS:-QUERY], -torch.inf)
    liked = torch.zeros(len(scores), P).scatter(1, one.partner[:, -QUERY:], (one.rating[:, -QUERY:] >= one.world.relevant_from).float())
    return float((liked.gather(1, scores.topk(10, 1).indices).sum(1) / liked.sum(1).clamp(min=1)).mean())


def trivial(one: Made) -> float:
    """What popularity in the target reaches, or the bias model."""
    if one.world.goal == "rating":
        from baselines.trivial.bias import Bias

        return quality(Bias().fit(one.world, 0, lambda _: 0.0), one, one.support(0))
    rows = one.world.ratings
    counts = torch.bincount(rows.partner[rows.rating >= one.world.relevant_from], minlength=2 * P).float()
    return recall(counts.expand(len(one.partner), -1), one)


@lru_cache
def fitted(name: str, goal: str) -> Learner:
    """Validated on the first half of the cold entities, as a board would on entities of its own."""
    one = made(goal)
    first = Made(one.world, one.partner[: COLD // 2], one.rating[: COLD // 2])
    return METHODS[name]().fit(one.world, 0, lambda learner: quality(learner, first, first.support(0)))


def unseen(goal: str) -> Made:
    one = made(goal)
    return Made(one.world, one.partner[COLD // 2 :], one.rating[COLD // 2 :])


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", METHODS)
def test_source_rows_tell_of_the_target(name, goal):
    one, learner = unseen(goal), fitted(name, goal)
    plain = trivial(one)
    margin = 0.05 if one.world.goal == "ranking" else 0.1
    assert quality(learner, one, one.support(0)) > plain + margin
    shuffled = torch.arange(len(one.partner)).roll(1)
    assert quality(learner, one, one.support(0, shuffled)) < plain + margin / 5, "the source rows of another tell nothing of her"


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", METHODS)
def test_target_rows_correct_what_was_carried_over(name, goal):
    one, learner = unseen(goal), fitted(name, goal)
    shuffled = torch.arange(len(one.partner)).roll(1)
    assert quality(learner, one, one.support(5, shuffled)) > quality(learner, one, one.support(0, shuffled))


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", METHODS)
def test_law(name, goal, law):
    one = unseen(goal)
    law(fitted(name, goal), one.world, one.support(3))


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", METHODS)
def test_fit_is_deterministic_and_another_seed_another_model(name, goal):
    one = unseen(goal)
    support = one.support(3)
    method = METHODS[name](**({"steps": 25} if name == "ptupcdr" else {}))
    first = method.fit(one.world, 0, lambda _: 0.0)
    laws.fit_is_deterministic(method, one.world, 0, lambda _: 0.0, first, support)
    other = method.fit(one.world, 1, lambda _: 0.0)
    assert not torch.equal(laws.scores(first, support), laws.scores(other, support))


@pytest.mark.parametrize("goal", GOALS)
def test_emcdr_without_a_target_row_is_the_mapped_vector(goal):
    one, learner = unseen(goal), fitted("emcdr", goal)
    support = one.support(0)
    y = signal(one.world, learner.bias, support, learner.method.dislike)
    x = torch.cat([torch.ones(len(support), 1), learner.source.fold(support, y)], 1)
    torch.testing.assert_close(learner.adapt(support)["u"], x @ learner.mapping)


@pytest.mark.parametrize("name", METHODS)
def test_one_domain_is_a_reason_to_print(oracle, name):
    assert METHODS[name]().unsupported(oracle("interaction", "rating").world) == "there is one domain only"
    assert METHODS[name]().unsupported(made("rating").world) is None
