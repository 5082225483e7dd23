"""MAMO: memories, read by who the entity is, personalise where the inner loop starts.

A profile x_e (the entity's features) attends to N memory slots; each slot holds a bias of every
weight, and what is read moves the start theta before the entity's own gradient steps:

    a_e = softmax_n cos(x_e W, K_n)                       (one softmax, over slots)
    theta_e = theta - strength * sum_n a_en M_n           (a bias for each layer of the network)
    phi_e = theta_e - inner_rate * d L(theta_e, support), inner_steps times, of second order
    f(e, p) = net(z_p; phi_e) + b_p

This is the paper's idea, not its bookkeeping. The first layer's part of M stands for its task-specific
memory, the rest for its feature-specific one. The paper writes keys and memories by running means
(of profiles, and of a_e x the gradient of the support's loss); here W, K and M are parameters, learned
by the outer loss in meta-training and read-only after it, so that no entity met at test time leaves a
trace: a learned attention over starts. Where nothing is known of an entity every one reads the same,
and MAMO is MAML. At zero shots phi_e is theta_e.

Manqing Dong, Feng Yuan, Lina Yao, Xiwei Xu and Liming Zhu (2020), MAMO: Memory-Augmented
Meta-Optimization for Cold-start Recommendation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.nn.features import design_matrix
from baselines.nn.gradient_model import Adapt, GradientMethod, GradientModel, Snapshot
from baselines.nn.inner_loop import Adapted, descend
from benchmark.contract import Support, World, searched


@dataclass(frozen=True)
class MAMO(GradientMethod):
    hidden: tuple[int, ...] = (32,)
    slots: int = searched(8, 2, 32, log=True)
    strength: float = searched(1.0, 0.1, 3.0, log=True)
    inner_steps: int = 1
    negatives: int = 256
    scale: float = searched(0.3, 0.03, 1.0, log=True)
    tasks_per_step: int = 128
    steps: int = 300
    learning_rate: float = searched(0.005, 0.001, 0.05, log=True)
    evaluate_every: int = 50
    patience: int = 2

    def model(self, world: World, seed: int) -> GradientModel:
        return _MemoryModel(world, self, seed)

    def rule(self, model: GradientModel) -> Adapt:
        rates = [self.rate(model.world)] * len(model.theta)

        def adapt(one: Snapshot, support: Support) -> Adapted:
            attention = one.y[support.entity]  # [T, slots]
            start = tuple(
                w - self.strength * (attention @ m.flatten(1)).view(-1, *w.shape) for w, m in zip(one.theta, one.rates, strict=True)
            )
            return descend(start, one.z[support.partner], model.wrong(one, support), rates, self.inner_steps)

        return adapt


class _MemoryModel(GradientModel):
    """`rates` of a snapshot holds the memories, one [slots, ...] a weight, and `y` the attention."""

    def __init__(self, world: World, method: MAMO, seed: int) -> None:
        super().__init__(world, method, seed)
        generator = torch.Generator().manual_seed(seed + 1)
        self.known = design_matrix(world.entity_features)

        def drawn(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter((torch.randn(*shape, generator=generator) * scale).to(world.device))

        self.profile = drawn(self.known.shape[1], method.width, scale=0.3)
        self.keys = drawn(method.slots, method.width, scale=1.0)
        self.rates.extend([drawn(method.slots, *w.shape, scale=0.02) for w in self.theta])

    def entities(self, entity: Tensor | None = None) -> Tensor:
        """a_e of every entity, or of those named: [N, slots]."""
        known = self.known if entity is None else self.known[entity]
        near = functional.normalize(known @ self.profile, dim=1, eps=1e-6) @ functional.normalize(self.keys, dim=1).T
        return near.softmax(1)
