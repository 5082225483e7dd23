"""The laws of the contract, each a check that raises LawBroken with the evidence.

A law takes a fitted learner, its world and a support of T >= 2 tasks. Floating sums may differ in
their last bits with the shape of a batch, so equality is up to TOLERANCE.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import torch
from torch import Tensor

from benchmark.contract import Learner, Method, Support, TensorRecord, World

TOLERANCE = 1e-3  # of scores, which are of order one; iterated gradients amplify the last bits of a batched sum
Law = Callable[[Learner, World, Support], None]


class LawBroken(AssertionError):
    """A method broke a law of the contract."""


def scores(learner: Learner, support: Support, partner: Tensor | None = None) -> Tensor:
    """Adapts and scores: [T, C]."""
    return learner.score(learner.adapt(support), partner).detach()


def _same(law: str, one: Tensor, other: Tensor) -> None:
    gap = float((one - other).abs().max()) if one.shape == other.shape else float("nan")
    scale = 1.0 + float(one.abs().max())
    if not gap <= TOLERANCE * scale:
        raise LawBroken(f"{law}: scores of shape {tuple(one.shape)} and {tuple(other.shape)} differ by up to {gap:g}")


def a_batch_equals_its_tasks(learner: Learner, world: World, support: Support) -> None:
    """Adapting T tasks at once gives what adapting each alone gives."""
    alone = torch.cat([scores(learner, support[t : t + 1]) for t in range(min(8, len(support)))])
    _same("a batch equals its tasks one by one", scores(learner, support)[:8], alone)


def task_order_does_not_matter(learner: Learner, world: World, support: Support) -> None:
    """Turning the batch round turns the scores round."""
    back = torch.arange(len(support) - 1, -1, -1, device=support.entity.device)
    _same("task order does not matter", scores(learner, support), scores(learner, support[back])[back])


def support_order_does_not_matter(learner: Learner, world: World, support: Support) -> None:
    """Where time means nothing, the rows of a support are a set."""
    if world.reads_time:
        return
    shown = int(support.mask.sum(1).max())
    turned = torch.cat([torch.arange(shown - 1, -1, -1), torch.arange(shown, support.mask.shape[1])])
    other = Support(*(_columns(getattr(support, field.name), turned) for field in fields(support)))
    _same("support order does not matter", scores(learner, support), scores(learner, other))


def _columns(value: Tensor, order: Tensor) -> Tensor:
    return value[:, order.to(value.device)] if value.dim() == 2 else value


def padding_changes_nothing(learner: Learner, world: World, support: Support) -> None:
    """Masked rows are not there, however many they are."""
    bare = support.mask.any(0)
    narrow = Support(*(_columns(getattr(support, f.name), torch.nonzero(bare).flatten()) for f in fields(support)))
    wide = Support(
        support.entity, *(torch.cat([x, torch.zeros_like(x)], 1) for x in (support.partner, support.rating, support.time, support.mask))
    )
    _same("padding changes nothing", scores(learner, narrow), scores(learner, wide))


def state_does_not_bleed(learner: Learner, world: World, support: Support) -> None:
    """Meeting other entities in between changes nothing."""
    before = scores(learner, support[:2])
    scores(learner, support)
    if not torch.equal(before, scores(learner, support[:2])):  # the same call on the same input: to the last bit
        raise LawBroken("state does not bleed into the next task: the same support gave other scores after another batch")


def inputs_are_untouched(learner: Learner, world: World, support: Support) -> None:
    """The support, the world and the state are read, not written."""
    owned = Support(*(getattr(support, field.name).clone() for field in fields(support)))
    world_before = snapshot(world)
    state = learner.adapt(owned)
    kept = {name: value.clone() for name, value in state.items()}
    learner.score(state)
    learner.score(state, owned.partner)
    for field in fields(support):
        if not torch.equal(getattr(owned, field.name), getattr(support, field.name)):
            raise LawBroken(f"inputs are untouched: support.{field.name} was written into")
    for name, value in kept.items():
        if not torch.equal(value, state[name]):
            raise LawBroken(f"inputs are untouched: score() wrote into state '{name}'")
    _unchanged(world_before, world)


def zero_shots_are_finite(learner: Learner, world: World, support: Support) -> None:
    """An empty support is an ordinary input, and its task gets finite scores."""
    nothing = replace(
        support,
        partner=support.partner * 0,
        rating=support.rating * 0,
        time=support.time * 0,
        mask=torch.zeros_like(support.mask),
    )
    got = scores(learner, nothing)
    if not bool(got.isfinite().all()):
        raise LawBroken(f"zero shots are finite: {int((~got.isfinite()).sum())} scores are not")


def scores_keep_the_contract(learner: Learner, world: World, support: Support) -> None:
    """[T, C], float32, finite, on the device; naming partners gives those columns of the whole."""
    every = scores(learner, support)
    wanted = (len(support), world.n_partners)
    if tuple(every.shape) != wanted or every.dtype != torch.float32 or every.device != world.device:
        raise LawBroken(f"scores keep the contract: {tuple(every.shape)} {every.dtype} on {every.device}, wanted {wanted} float32")
    if not bool(every.isfinite().all()):
        raise LawBroken("scores keep the contract: not all are finite")
    some = torch.arange(world.n_partners, device=world.device).flip(0)[:7].expand(len(support), -1)
    _same("score(state, partner) are columns of score(state)", every.gather(1, some), scores(learner, support, some))


def states_lead_with_tasks(learner: Learner, world: World, support: Support) -> None:
    """Every tensor of a state has leading dimension T, so that bytes an entity can be counted."""
    for name, value in learner.adapt(support).items():
        if value.shape[:1] != (len(support),):
            raise LawBroken(f"states lead with tasks: '{name}' has shape {tuple(value.shape)}, wanted [{len(support)}, ...]")


def cold_ids_carry_no_signal(learner: Learner, world: World, support: Support) -> None:
    """Exchanging the ids of featureless cold entities changes no score."""
    if world.entity_features.width:
        return
    renamed = replace(support, entity=support.entity.roll(1))
    _same("cold ids carry no signal", scores(learner, support), scores(learner, renamed))


LAWS: tuple[Law, ...] = (
    a_batch_equals_its_tasks,
    task_order_does_not_matter,
    support_order_does_not_matter,
    padding_changes_nothing,
    state_does_not_bleed,
    inputs_are_untouched,
    zero_shots_are_finite,
    scores_keep_the_contract,
    states_lead_with_tasks,
    cold_ids_carry_no_signal,
)


def fit_is_deterministic(
    method: Method, world: World, seed: int, validate: Callable[[Learner], float], first: Learner, support: Support
) -> None:
    """A second fit with the same seed gives the same scores to the last bit, and leaves the world alone."""
    before = snapshot(world)
    torch.rand(7)  # a method that draws from the global stream would now differ
    again = method.fit(world, seed, validate)
    if not torch.equal(scores(first, support), scores(again, support)):
        raise LawBroken("fit is deterministic: two fits with one seed gave different scores")
    _unchanged(before, world)


def snapshot(record: TensorRecord) -> dict[str, Tensor]:
    """Copies of every tensor in a record, by dotted name."""
    found: dict[str, Tensor] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, TensorRecord):
            found |= {f"{field.name}.{name}": tensor for name, tensor in snapshot(value).items()}
        elif isinstance(value, Tensor):
            found[field.name] = value.clone()
    return found


def _unchanged(before: dict[str, Tensor], world: World) -> None:
    for name, value in snapshot(world).items():
        if not torch.equal(before[name], value):
            raise LawBroken(f"inputs are untouched: world.{name} was written into")
