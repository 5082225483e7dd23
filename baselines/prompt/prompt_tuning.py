"""Prompt-tuning: the reader is frozen, and a cold entity learns only a few prompt vectors.

A small transformer R reads a set of tokens into one vector. It is pretrained on warm histories, with
a token t_j = [z_j, y_j z_j, y_j] W for each (partner, rating) shown:

    u_e = R({t_j}),   s(e, p) = z_p . u_e + b_p      (softmax over the catalogue, or squared error)

Then z, b and R are frozen. An entity's prompts P_e [n_prompts, width] take the tokens' place,

    P_e = P_0 + x_e W_x,   P_e <- P_e - rate_i * d/d P_e  L(z . R(P_e), support),   i = 1 .. inner_steps
    u_e = R(P_e)

and P_0, W_x (of the entity's features x_e, where there are any) and the rates are meta-learned
through the inner steps, of second order. y_j and the inner loss are a(r) and a logistic loss
(`ranking`), or the residual over the damped bias model and a squared error (`rating`). P_e, a few
hundred bytes, is all that is kept of an entity. At zero shots it is P_0 + x_e W_x.

`text=True` adds to z_p a learned map of a frozen sentence encoder's vector of the partner's text, and to x_e
that of the entity's.

Brian Lester, Rami Al-Rfou and Noah Constant (2021), The Power of Scale for Parameter-Efficient
Prompt Tuning; with a meta-learned start as in Finn et al. (2017).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.nn.chunks import adapted_in_runs
from baselines.nn.features import design_matrix
from baselines.nn.inner_weight import inner_weight
from baselines.nn.meta_training import Schedule, counted, meta_train
from baselines.nn.taste import taste
from baselines.nn.text_encoder import missing, sentence_vectors
from baselines.nn.transformer import SetReader
from baselines.nn.vector_model import VectorLearner, VectorModel
from benchmark.contract import Features, Learner, Method, State, Support, World, searched
from benchmark.protocol.tasks import Episode, TaskSampler


@dataclass(frozen=True)
class PromptTuning(Method):
    text: bool = False
    width: int = searched(32, choices=(16, 32, 64))
    n_prompts: int = searched(4, 1, 8)
    layers: int = 1
    heads: int = 2
    inner_steps: int = 3
    inner_rate: float = searched(1.0, 0.1, 10.0, log=True)  # where the learned rates start, `ranking`
    rating_inner_rate: float = searched(0.1, 0.01, 1.0, log=True)
    scale: float = 0.1  # of the embeddings at the start
    steps: int = 250  # of the pretraining, and again of the prompts' meta-training
    tasks_per_step: int = 256
    learning_rate: float = searched(0.01, 0.001, 0.05, log=True)
    prompt_learning_rate: float = searched(0.02, 0.002, 0.1, log=True)
    evaluate_every: int = 25
    patience: int = 2

    def unsupported(self, world: World) -> str | None:
        return missing((*world.partner_features.text, *world.entity_features.text)) if self.text else None

    def fit(self, world: World, seed: int, validate: Callable[[Learner], float]) -> Learner:
        generator = torch.Generator().manual_seed(seed)
        reading = _Reading(self, world, generator)
        schedule = Schedule(self.steps, self.tasks_per_step, self.learning_rate, self.evaluate_every, self.patience)
        read = meta_train(reading.parameters(), TaskSampler(world, seed), reading.on, reading.learner, validate, schedule, counted(world))
        tuning = _Tuning(self, read, generator)
        schedule = Schedule(self.steps, self.tasks_per_step, self.prompt_learning_rate, self.evaluate_every, self.patience)
        return meta_train(tuning.parameters(), TaskSampler(world, seed + 1), tuning.on, tuning.learner, validate, schedule, counted(world))


def read_texts(features: Features) -> Tensor:
    """A sentence vector for each text, [n, 384], or no column where there is none."""
    vectors = sentence_vectors(features.text) if any(features.text) else torch.zeros(len(features), 0)
    return vectors.to(features.dense.device)


class _Reading(VectorModel):
    """What is pretrained: the partners' table, the tokens and the reader."""

    def __init__(self, method: PromptTuning, world: World, generator: torch.Generator) -> None:
        super().__init__(world, method.width, method.scale, generator)
        width, device = method.width, world.device
        self.reader = SetReader(width, method.heads, method.layers, generator, device)
        self.token = nn.Parameter((torch.randn(2 * width + 1, width, generator=generator) / width**0.5).to(device))
        self.sentences = read_texts(world.partner_features) if method.text else torch.zeros(world.n_partners, 0, device=device)
        self.says = nn.Parameter((torch.randn(self.sentences.shape[-1], width, generator=generator) * method.scale).to(device))

    def table(self) -> Tensor:
        """Z: [n_partners, width]."""
        z: Tensor = self.encoder()
        return z + self.sentences @ self.says if self.sentences.shape[1] else z

    def read(self, z: Tensor, support: Support) -> Tensor:
        """u of the support's tokens: [T, width]."""
        y = label(self, support)[:, :, None]
        seen = z[support.partner]
        u: Tensor = self.reader(torch.cat([seen, seen * y, y], 2) @ self.token, support.mask)
        return u

    def on(self, episode: Episode) -> Tensor:
        z = self.table()
        return self.loss(z, self.read(z, episode.support), episode)

    def learner(self) -> _Read:
        frozen = copy.deepcopy(self).requires_grad_(False)
        return _Read(self.world, self.bias, frozen.table(), frozen.b, frozen.read, sum(p.numel() for p in self.parameters()), frozen)


@dataclass(frozen=True, eq=False)
class _Read(VectorLearner):
    """The reader as a learner of its own, for validation while it is pretrained."""

    model: _Reading


def label(model: VectorModel, support: Support) -> Tensor:
    """y of the support's rows: [T, K]."""
    if model.world.goal == "ranking":
        return taste(support.rating, model.world, 1.0) * support.mask
    return model.left(support)


class _Tuning(nn.Module):
    """What is meta-learned over the frozen reader: where prompts start, and how fast they move."""

    def __init__(self, method: PromptTuning, read: Learner, generator: torch.Generator) -> None:
        super().__init__()
        assert isinstance(read, _Read)
        self.frozen, self.z, self.b, world = read.model, read.z, read.b, read.world
        self.known = design_matrix(world.entity_features)
        if method.text:
            self.known = torch.cat([self.known, read_texts(world.entity_features)], 1)
        device, rate = world.device, method.inner_rate if world.goal == "ranking" else method.rating_inner_rate
        self.start = nn.Parameter((torch.randn(method.n_prompts, method.width, generator=generator)).to(device))
        self.profile = nn.Parameter(torch.zeros(self.known.shape[1], method.width, device=device))
        self.log_rate = nn.Parameter(torch.full((method.inner_steps,), rate, device=device).log())
        self.frozen.requires_grad_(False)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        yield from (self.start, self.profile, self.log_rate)

    def prompts(self, support: Support, learn: bool) -> Tensor:
        """P_e: [T, n_prompts, width]; with `learn`, attached to what is meta-learned."""
        prompt = self.start + (self.known[support.entity] @ self.profile)[:, None]
        wrong, weight = self._wrong(support), inner_weight(support, self.frozen.world)
        for rate in self.log_rate.exp():
            prompt = prompt if learn else prompt.detach().requires_grad_()
            f = (self.z[support.partner] @ self.read(prompt)[:, :, None]).squeeze(2)
            (step,) = torch.autograd.grad((wrong(f) * weight).sum(), prompt, create_graph=learn)
            prompt = prompt - rate * step
        return prompt

    def _wrong(self, support: Support) -> Callable[[Tensor], Tensor]:
        """The inner loss of each row: [T, K] -> [T, K]."""
        y = label(self.frozen, support)
        if self.frozen.world.goal == "ranking":
            return lambda f: functional.softplus(f) - y * f
        return lambda f: (f + self.b[support.partner] - y).square() / 2

    def read(self, prompt: Tensor) -> Tensor:
        """u: [T, width]."""
        u: Tensor = self.frozen.reader(prompt, torch.ones(prompt.shape[:2], dtype=torch.bool, device=prompt.device))
        return u

    def on(self, episode: Episode) -> Tensor:
        return self.frozen.loss(self.z, self.read(self.prompts(episode.support, learn=True)), episode)

    def learner(self) -> Learner:
        return _Learner(copy.deepcopy(self))


@dataclass(frozen=True, eq=False)
class _Learner(Learner):
    tuned: _Tuning

    def adapt(self, support: Support) -> State:
        return adapted_in_runs(self._adapt, support, 4 * self.tuned.start.numel())

    def _adapt(self, support: Support) -> State:
        with torch.enable_grad():
            prompt = self.tuned.prompts(support, learn=False).detach()
        return {"prompt": prompt, "entity": self.tuned.frozen.bias.entity(support)}

    def score(self, state: State, partner: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            scores = self.tuned.read(state["prompt"]) @ self.tuned.z.T + self.tuned.b
        if self.tuned.frozen.world.goal == "rating":
            scores = scores + self.tuned.frozen.bias.predict(state["entity"])
        return scores if partner is None else scores.gather(1, partner)

    def parameters(self) -> int:
        return sum(p.numel() for p in (*self.tuned.parameters(), *self.tuned.frozen.parameters()))
