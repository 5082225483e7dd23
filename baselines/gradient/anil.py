"""ANIL: almost no inner loop. Only the last layer is adapted; the body below it is shared by all.

    x_p = relu(z_p W + b) (shared),   phi = (w, c) from theta by inner steps on the support
    f(e, p) = x_p . w_e + c_e + b_p

The outer gradient is of second order, and reaches the body through the inner steps. The body is
computed once for the catalogue, so adapting and scoring cost what a linear model costs. At zero
shots phi is theta.

Aniruddh Raghu, Maithra Raghu, Samy Bengio and Oriol Vinyals (2020), Rapid Learning or Feature
Reuse? Towards Understanding the Effectiveness of MAML.
"""

from __future__ import annotations

from dataclasses import dataclass

from baselines.nn.gradient_model import Adapt, GradientMethod, GradientModel
from baselines.nn.inner_loop import descend
from benchmark.contract import searched


@dataclass(frozen=True)
class ANIL(GradientMethod):
    hidden: tuple[int, ...] = (64,)
    scale: float = searched(0.3, 0.03, 1.0, log=True)
    learning_rate: float = searched(0.005, 0.001, 0.05, log=True)
    patience: int = 3

    def rule(self, model: GradientModel) -> Adapt:
        rates = [0.0] * (len(model.theta) - 2) + [self.rate(model.world)] * 2
        return lambda one, support: descend(one.theta, one.z[support.partner], model.wrong(one, support), rates, self.inner_steps)
