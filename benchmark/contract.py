"""The contract between the harness and a method.

An *entity* is who or what arrives cold, a *partner* is what it meets: in user cold-start the entity
is the user and partners are items, in item cold-start the other way round. A method written in
these words works on both sides.

Everything is batched: T tasks are tensors with a leading dimension T on one device.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self

import torch
from torch import Tensor

Goal = Literal["rating", "ranking"]

READ_AT_ONCE = {"cpu"}  # kinds of device whose numbers the host has at once; a test empties it to walk a GPU's way on a CPU


class Reduced(UserWarning):
    """Said where work went on with less than was asked for, e.g. a smaller batch; a cell's record keeps it."""


def fits(work: Callable[[], None]) -> bool:
    """Does `work`, and says whether the device's memory was enough; where not, what it had taken is free again."""
    try:
        work()
        return True
    except torch.OutOfMemoryError:
        pass  # the failed call and its tensors live as long as its exception does
    torch.cuda.empty_cache()  # does nothing where CUDA was never started
    return False


def halved(n_tasks: int) -> int:
    """Half as many tasks at once, which did not fit; says so."""
    warnings.warn(f"out of device memory with {n_tasks:,} tasks at once: went on with {n_tasks // 2:,}", Reduced, stacklevel=2)
    return n_tasks // 2


def waits(one: Tensor) -> bool:
    """Whether the host would wait for a device to read a value of `one`: better then to do the work that the value might save."""
    return one.device.type not in READ_AT_ONCE


State = dict[str, Tensor]
"""What a learner keeps of T adapted entities: named tensors, each with a leading dimension T.
Their bytes are what must be stored to serve the entities, so nothing else may be remembered."""


@dataclass(frozen=True, eq=False)
class TensorRecord:
    """A frozen record of tensors that moves between devices as one."""

    def to(self, device: torch.device | str) -> Self:
        """The same record on `device`."""
        return self._each(lambda tensor: tensor.to(device))

    def clone(self) -> Self:
        """A record of copies, for someone who might write into it."""
        return self._each(torch.Tensor.clone)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in values.items():
            if isinstance(value, Tensor):
                values[name] = change(value)
            elif isinstance(value, TensorRecord):
                values[name] = value._each(change)
        return type(self)(**values)


@dataclass(frozen=True, eq=False)
class Ratings(TensorRecord):
    """Rows of (entity, partner, rating, time), sorted by entity and then partner."""

    entity: Tensor  # [N] int64
    partner: Tensor  # [N] int64
    rating: Tensor  # [N] float32
    time: Tensor  # [N] int64 seconds

    def __len__(self) -> int:
        return self.entity.shape[0]


@dataclass(frozen=True, eq=False)
class Features(TensorRecord):
    """What is known of n ids beside their ratings; any block may have width 0.

    Categorical value 0 means unknown. No value is computed from rows outside the training side.
    """

    categorical: Tensor  # [n, A] int64, column a takes values in 0 .. categorical_sizes[a] - 1
    multi_hot: Tensor  # [n, M] float32 of zeros and ones
    dense: Tensor  # [n, D] float32, of order one
    categorical_sizes: tuple[int, ...] = ()
    text: tuple[str, ...] = ()  # one an id, or none at all: a title, a description

    @classmethod
    def empty(cls, n: int) -> Features:
        """Features of n ids of which nothing is known."""
        return cls(torch.zeros(n, 0, dtype=torch.int64), torch.zeros(n, 0), torch.zeros(n, 0))

    def __len__(self) -> int:
        return self.categorical.shape[0]

    @property
    def width(self) -> int:
        """Columns over all three blocks; 0 where nothing is known."""
        return self.categorical.shape[1] + self.multi_hot.shape[1] + self.dense.shape[1]


@dataclass(frozen=True, eq=False)
class Support(TensorRecord):
    """What T cold entities have shown, padded to K rows; masked rows hold zeros."""

    entity: Tensor  # [T] int64
    partner: Tensor  # [T, K] int64, 0 where masked out
    rating: Tensor  # [T, K] float32, 0 where masked out
    time: Tensor  # [T, K] int64 seconds, oldest first; zeros where time means nothing
    mask: Tensor  # [T, K] bool; an all-False row is a 0-shot task, an ordinary input

    def __len__(self) -> int:
        return self.entity.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Support:
        """The tasks that `rows` selects, in that order."""
        return Support(self.entity[rows], self.partner[rows], self.rating[rows], self.time[rows], self.mask[rows])

    def count(self) -> Tensor:
        """Rows shown by each task: [T] float32."""
        return self.mask.sum(1).float()

    def checked(self, world: World) -> Support:
        """This support, if a learner of `world` may be given it; for supports made by hand.

        Raises ValueError, naming task and row, for an id that does not exist, a rating off the scale, or
        a masked row that is not all zeros.
        """
        low, high = world.rating_range
        for what, column, wrong, wanted in (
            ("entity", self.entity, (self.entity < 0) | (self.entity >= world.n_entities), f"0 to {world.n_entities - 1}"),
            ("partner", self.partner, (self.partner < 0) | (self.partner >= world.n_partners), f"0 to {world.n_partners - 1}"),
            ("rating", self.rating, self.mask & ~((self.rating >= low) & (self.rating <= high)), f"{low:g} to {high:g}"),
            ("rating", self.rating, ~self.mask & (self.rating != 0), "0 where masked out"),
            ("partner", self.partner, ~self.mask & (self.partner != 0), "0 where masked out"),
        ):
            if bool(wrong.any()):
                place = torch.nonzero(wrong)[0].tolist()
                where = f"task {place[0]}" + (f", row {place[1]}" if len(place) > 1 else "")
                raise ValueError(f"support of {where}: {what} is {column[tuple(place)].item():g}, wanted {wanted}")
        return self


@dataclass(frozen=True, eq=False)
class World(TensorRecord):
    """All that may be known before the cold entities arrive."""

    ratings: Ratings  # warm rows only
    n_entities: int  # id space, cold ids included; a cold id carries no signal
    n_partners: int
    entity_features: Features
    partner_features: Features
    partner_is_warm: Tensor  # [n_partners] bool: an id embedding exists only for these
    partner_is_ranked: Tensor  # [n_partners] bool: whom training ranks; neither source partners nor those that have yet to come
    partner_domain: Tensor  # [n_partners] int64, 0 = target domain
    goal: Goal
    shots: tuple[int, ...]  # support sizes to come
    rating_range: tuple[float, float]
    relevant_from: float  # a rating of at least this much counts as relevant
    support_order: Literal["random", "first", "last"] = "random"  # which rows a support holds: any, her first, or her last ones

    @property
    def reads_time(self) -> bool:
        """Whether supports come in the order of time."""
        return self.support_order != "random"

    @property
    def device(self) -> torch.device:
        return self.ratings.entity.device


class Learner(ABC):
    """A fitted method. Immutable: it may not remember one entity when it meets the next."""

    @abstractmethod
    def adapt(self, support: Support) -> State:
        """Fits T entities to their supports; every tensor of the state has leading dimension T.

        The support is trusted: one made by hand goes through `support.checked(world)` first, as the harness's do.
        """

    @abstractmethod
    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        """Scores [T, C] float32, higher is better; predicted ratings where the goal is `rating`.

        `partner` [T, C] int64 names the partners of each task; None means every partner in order.
        """

    def parameters(self) -> int:
        """Fitted numbers, counted for the cost table; 0 where nothing is fitted."""
        return 0


@dataclass(frozen=True)
class Search:
    """What tuning may try for one hyperparameter: a range, whole numbers where both ends are, or a few choices."""

    low: float | None = None
    high: float | None = None
    log: bool = False  # drawn evenly on a logarithmic scale
    choices: tuple[Any, ...] = ()


def searched(default: Any, low: float | None = None, high: float | None = None, *, log: bool = False, choices: tuple[Any, ...] = ()) -> Any:
    """A field of a method with its default and what tuning may try in its place.

    `damping: float = searched(5.0, 0.5, 50.0, log=True)`; a field declared without it is never searched.
    """
    return field(default=default, metadata={"search": Search(low, high, log, choices)})


class Method(ABC):
    """A frozen dataclass whose fields are the hyperparameters."""

    @abstractmethod
    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        """Fits a learner, deterministic in (world, seed).

        `validate` scores a learner on the validation entities by the board's own metric, higher is
        better: the only way to stop early or to choose a checkpoint.
        """

    def unsupported(self, world: World) -> str | None:
        """Why this method cannot run in such a world, as a phrase to print, or None if it can."""
        return None
