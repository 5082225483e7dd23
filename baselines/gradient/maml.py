"""MAML: meta-learn weights from which a few gradient steps on the support answer the query.

For a task with support S and query Q, fast weights phi start at theta and all layers are adapted:

    phi_0 = theta,   phi_{i+1} = phi_i - inner_rate * d/d phi_i  L(phi_i, S),   outer loss L(phi_I, Q)

The outer gradient passes through the inner steps (second order); `second_order=False` is FOMAML,
which takes d L(phi_I, Q) / d phi_I for it. The network is net(z_p; phi) over a partner's embedding
(`baselines.nn.gradient_model`); with no hidden layer, the default, phi = (u, c) is a vector and an
offset of the entity's own.

Meta-trained on a mix of k that includes 0, where the answer is theta itself.

Chelsea Finn, Pieter Abbeel and Sergey Levine (2017), Model-Agnostic Meta-Learning for Fast
Adaptation of Deep Networks.
"""

from __future__ import annotations

from dataclasses import dataclass

from baselines.nn.gradient_model import Adapt, GradientMethod, GradientModel
from baselines.nn.inner_loop import descend


@dataclass(frozen=True)
class MAML(GradientMethod):
    second_order: bool = True

    def rule(self, model: GradientModel) -> Adapt:
        rates = [self.rate(model.world)] * len(model.theta)
        return lambda one, support: descend(
            one.theta, one.z[support.partner], model.wrong(one, support), rates, self.inner_steps, self.second_order
        )
