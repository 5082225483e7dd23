"""Meta-SGD: the inner rates are learned too, one for each weight, with their sign.

    phi_0 = theta,   phi_{i+1} = phi_i - alpha * d/d phi_i  L(phi_i, S)     (* elementwise)

theta and alpha are meta-trained together, by the outer loss after the inner steps (second order); a
coordinate in which a few ratings mislead learns a rate near 0. At zero shots phi is theta.

Zhenguo Li, Fengwei Zhou, Fei Chen and Hang Li (2017), Meta-SGD: Learning to Learn Quickly for
Few-Shot Learning.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from baselines.nn.gradient_model import Adapt, GradientMethod, GradientModel
from baselines.nn.inner_loop import descend
from benchmark.contract import searched


@dataclass(frozen=True)
class MetaSGD(GradientMethod):
    inner_steps: int = 1  # as published
    inner_rate: float = searched(0.2, 0.01, 1.0, log=True)  # where the rates start, `ranking`
    rating_inner_rate: float = searched(0.04, 0.002, 0.2, log=True)  # where the rates start, `rating`

    def rule(self, model: GradientModel) -> Adapt:
        model.rates.extend(nn.Parameter(torch.full_like(w, self.rate(model.world))) for w in model.theta)
        return lambda one, support: descend(one.theta, one.z[support.partner], model.wrong(one, support), one.rates, self.inner_steps)
