"""MAML: meta-learn weights from which a few gradient steps on the support answer the query.

For a task with support S and query Q, fast weights phi start at theta and all layers are adapted:

    phi_0 = theta,   phi_{i+1} = phi_i - inner_rate * d/d phi_i  L(phi_i, S),   outer loss L(phi_I, Q)

The outer gradient passes through the inner steps (second order); `second_order=False` is FOMAML,
which takes d L(phi_I, Q) / d phi_I for it. The network is net(z_p; phi) over a partner's embedding
(`baselines.nn.gradient_model`), which itself stays as it is within a task. With no hidden layer, the
default and the best found here, phi = (u, c) is a vector and an offset of the entity's own; `anil`
differs by a hidden layer between the two that stays as well.

Meta-trained on a mix of k that includes 0, where the answer is theta itself.

Chelsea Finn, Pieter Abbeel and Sergey Levine (2017), Model-Agnostic Meta-Learning for Fast
Adaptation of Deep Networks.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.nn.gradient_model import Adapt, GradientMethod, GradientModel
from baselines.nn.inner_loop import descend
from baselines.nn.one_step import one_step_loss, writes_by_hand
from benchmark.protocol.tasks import Episode


@dataclass(frozen=True)
class MAML(GradientMethod):
    second_order: bool = True

    def loss(self, model: GradientModel, rule: Adapt, episode: Episode) -> Tensor:
        if self.second_order and writes_by_hand(self, model):  # the same number, several times faster
            return one_step_loss(model, episode, self.rate(model.world))
        return super().loss(model, rule, episode)

    def rule(self, model: GradientModel) -> Adapt:
        rates = [self.rate(model.world)] * len(model.theta)
        return lambda one, support: descend(
            one.theta, one.z[support.partner], model.wrong(one, support), rates, self.inner_steps, self.second_order
        )
