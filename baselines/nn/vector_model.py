"""What methods share that answer with one vector an entity: its table of partners, losses and learner.

    f(e, p) = z_p . u_e + b_p

`ranking`: trained by a softmax over the catalogue, b_p starting at log popularity. `rating`: f is the
residual over the damped bias model, trained by squared error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from baselines.nn.bias import DampedBias
from baselines.nn.chunks import adapted_in_runs
from baselines.nn.features import PartnerEncoder
from baselines.nn.meta_training import catalogue_softmax, log_popularity, squared_error
from benchmark.contract import Learner, State, Support, World
from benchmark.protocol.tasks import Episode


class VectorModel(nn.Module):
    """The partners' table; a method adds its own numbers, and `encode` makes u of z and a support."""

    def __init__(self, world: World, width: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.world, self.bias = world, DampedBias.fit(world)
        self.encoder = PartnerEncoder(world, width, scale, generator)
        ranks = world.goal == "ranking"
        self.b = nn.Parameter(log_popularity(world) if ranks else torch.zeros(world.n_partners, device=world.device))

    def left(self, support: Support) -> Tensor:
        """The residual over the bias model, 0 where masked: [T, K]."""
        return (self.bias.residual(support) - self.bias.entity(support)) * support.mask

    def loss(self, z: Tensor, u: Tensor, episode: Episode, b_e: Tensor | None = None) -> Tensor:
        """The loss of vectors u [T, width] on the query; b_e [T, 1] where it does not come from the support."""
        if self.world.goal == "ranking":
            return catalogue_softmax(torch.addmm(self.b, u, z.T), episode, self.world)
        asked = episode.query_partner
        near = (z[asked] @ u[:, :, None]).squeeze(2) + self.b[asked]
        return squared_error(self.bias.predict(self.bias.entity(episode.support) if b_e is None else b_e, asked) + near, episode)


@dataclass(frozen=True, eq=False)
class VectorLearner(Learner):
    """A fitted method: `encode` closes over copies of the method's own numbers."""

    world: World
    bias: DampedBias
    z: Tensor  # [n_partners, width]
    b: Tensor  # [n_partners]
    encode: Callable[[Tensor, Support], Tensor]
    n_own: int  # the method's own numbers

    def adapt(self, support: Support) -> State:
        return adapted_in_runs(self._adapt, support, 4 * self.z.shape[1])

    def _adapt(self, support: Support) -> State:
        with torch.no_grad():
            return {"u": self.encode(self.z, support), "entity": self.bias.entity(support)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        scores = state["u"] @ self.z.T + self.b
        if self.world.goal == "rating":
            scores = scores + self.bias.predict(state["entity"])
        return scores if partner is None else scores.gather(1, partner)

    def parameters(self) -> int:
        return self.z.numel() + self.b.numel() + self.n_own
