"""Fine-tuning: weights trained jointly on all entities, then adapted to a cold one; MAML without meta-learning.

    theta = argmin mean over tasks L(theta, Q)                        no inner loop in training
    phi_0 = theta,   phi_{i+1} = phi_i - inner_rate * d/d phi_i  L(phi_i, S)     for a cold entity

`part` says which weights those steps move: all of them, the head (the last layer), the offsets of all
layers ("bias"), or none, which asks the trained model as it is. Same network and losses as MAML
(`baselines.nn.gradient_model`), so that the rows differ in what is ablated alone. Validation picks
the checkpoint as it will be used, after the steps. At zero shots phi is theta.

Training sees each partner through all entities at once, so that at `ranking` z_p has only popularity to
learn, which b_p holds already: what the steps then find in z_p is taste by chance, or by features.

The joint training that Finn et al. (2017) compare MAML with; head alone as in Aniruddh Raghu et al.
(2020), Rapid Learning or Feature Reuse?; offsets alone as in Elad Ben Zaken, Shauli Ravfogel and Yoav
Goldberg (2022), BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.nn.gradient_model import Adapt, GradientMethod, GradientModel
from baselines.nn.inner_loop import descend
from benchmark.contract import World, searched
from benchmark.protocol.tasks import Episode

PARTS = ("none", "all", "head", "bias")


@dataclass(frozen=True)
class FineTune(GradientMethod):
    part: str = "all"  # of the weights, which a cold entity moves
    hidden: tuple[int, ...] = (32,)
    inner_steps: int = searched(5, 1, 20, log=True)
    inner_rate: float = searched(0.02, 0.002, 1.0, log=True)
    rating_inner_rate: float = searched(0.005, 0.0005, 0.2, log=True)
    scale: float = searched(0.3, 0.03, 1.0, log=True)
    learning_rate: float = searched(0.005, 0.001, 0.05, log=True)
    patience: int = 3

    def __post_init__(self) -> None:
        if self.part not in PARTS:
            raise ValueError(f"part is '{self.part}', wanted one of {', '.join(PARTS)}")

    def loss(self, model: GradientModel, rule: Adapt, episode: Episode) -> Tensor:
        """The outer loss at theta: joint training."""
        one = model.now()
        shared, last = one.theta[:-1], one.theta[-1]  # all tasks have the same weights; one that leads with them says how many
        return model.outer_loss(one, (*shared, last.expand(len(episode.support), 1, 1)), episode)

    def rule(self, model: GradientModel) -> Adapt:
        rates = self.rates(model.world, len(model.theta))
        return lambda one, support: descend(one.theta, one.z[support.partner], model.wrong(one, support), rates, self.inner_steps)

    def rates(self, world: World, n: int) -> list[float]:
        """A rate for each of the n weights (W_1, b_1, ..., w, c); 0.0 leaves one as it is."""
        moved = {"none": range(0), "all": range(n), "head": range(n - 2, n), "bias": range(1, n, 2)}[self.part]
        return [self.rate(world) if place in moved else 0.0 for place in range(n)]
