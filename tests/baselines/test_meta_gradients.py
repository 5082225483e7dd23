"""What each method's own training loss is differentiated through: finite differences in float64, on the methods as they are run."""

from __future__ import annotations

import random
from dataclasses import fields, replace

import pytest
import torch

from baselines.amortised.meta_emb import MetaEmb
from baselines.gradient.anil import ANIL
from baselines.gradient.maml import MAML
from baselines.nn.gradient_model import GradientLearner
from baselines.nn.pretrained import pretrain
from baselines.prompt.prompt_tuning import PromptTuning, _Reading, _Tuning
from benchmark.contract import Features
from benchmark.evaluation.evaluate import validator
from benchmark.protocol.tasks import TaskSampler
from benchmark.running.methods import build, entry

GOALS = ("ranking", "rating")
SMALL = {"negatives": 0, "width": 8}
SECOND = [
    ("maml", {}),
    ("maml", {"hidden": (6, 5), "inner_steps": 1}),  # written by hand at `rating`
    ("maml", {"hidden": (6,)}),
    ("anil", {"hidden": (6,)}),
    ("meta_sgd", {}),
    ("mamo", {"hidden": (6,)}),
    ("melu", {"hidden": (6, 5)}),
    ("melu", {"hidden": (6,), "inner_steps": 2}),
]


@pytest.fixture(params=GOALS)
def world(request, oracle):
    """Something is known of both sides, so that every part of a method is at work."""
    made = oracle("interaction", request.param, "melu").world
    luck, n = torch.Generator().manual_seed(0), made.n_entities
    known = Features(torch.randint(4, (n, 1), generator=luck), torch.zeros(n, 0), torch.randn(n, 2, generator=luck), (4,))
    return replace(made, entity_features=known)


def _episode(world):
    one = TaskSampler(world, 3).sample(10)
    return replace(one, support=replace(one.support, rating=one.support.rating.double()), query_rating=one.query_rating.double())


def _double(module):
    """A model with everything that it computes with in float64."""
    module.double()
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, torch.Tensor) and not isinstance(value, torch.nn.Parameter) and value.is_floating_point():
                setattr(part, name, value.double())
        if hasattr(part, "bias"):
            part.bias = replace(part.bias, mean=part.bias.mean.double(), partner=part.bias.partner.double())
    return module


def _largest_gap(parameters, loss, draws=8):
    """The largest relative gap between the gradient and central differences at drawn coordinates."""
    exact = torch.autograd.grad(loss(), parameters, allow_unused=True)
    luck, gaps = random.Random(0), []
    for parameter, gradient in zip(parameters, exact, strict=True):
        for _ in range(draws if gradient is not None and parameter.numel() else 0):
            at, flat = luck.randrange(parameter.numel()), parameter.data.view(-1)
            kept, ends = flat[at].item(), []
            for step in (1e-5, -1e-5):
                flat[at] = kept + step
                ends.append(loss().item())
            flat[at] = kept
            numeric = (ends[0] - ends[1]) / 2e-5
            gaps.append(abs(numeric - gradient.reshape(-1)[at].item()) / (1e-3 + abs(numeric)))
    assert len(gaps) >= 2 * draws
    return max(gaps)


def _ready(name, settings, world):
    method = build(entry(name, {**SMALL, **settings}))
    model = method.model(world, 0)
    rule = method.rule(model)
    _double(model)
    with torch.no_grad():
        luck = torch.Generator().manual_seed(1)
        for offset in (model.b, *model.theta[1::2]):  # with offsets of 0 a layer above dead units stands exactly on relu's kink
            offset.add_(0.1 * torch.randn(offset.shape, generator=luck))
    return method, model, rule


@pytest.mark.parametrize(("name", "settings"), SECOND, ids=lambda value: str(value))
def test_the_loss_that_is_trained_has_its_exact_gradient(world, name, settings):
    method, model, rule = _ready(name, settings, world)
    episode = _episode(world)
    assert _largest_gap(list(model.parameters()), lambda: method.loss(model, rule, episode)) < 1e-5


@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
def test_fomaml_is_of_first_order_and_maml_is_not(world, hidden):
    """d L(phi) / d phi summed over tasks is all that theta gets, and nothing reaches the embeddings through the support."""
    settings, episode = {"hidden": hidden, "inner_steps": 1}, _episode(world)
    gradients = {}
    for name in ("maml", "fomaml"):
        method, model, rule = _ready(name, settings, world)
        gradients[name] = torch.autograd.grad(method.loss(model, rule, episode), list(model.theta), retain_graph=True)
    one = model.now()
    phi = [w.detach().requires_grad_() for w in (part.whole() if hasattr(part, "whole") else part for part in rule(one, episode.support))]
    there = torch.autograd.grad(model.outer_loss(one, tuple(phi), episode), phi)
    for got, wanted in zip(gradients["fomaml"], there, strict=True):
        torch.testing.assert_close(got, wanted.sum(0).view_as(got), rtol=1e-9, atol=1e-12)
    assert max(float((a - b).abs().max()) for a, b in zip(gradients["maml"], gradients["fomaml"], strict=True)) > 1e-4
    z = model.encoder().detach().requires_grad_()
    fast = rule(replace(one, z=z), episode.support)
    asked = model.encoder().detach()  # what is asked is not what was shown
    value = model.outer_loss(replace(one, z=asked), fast, episode)
    (through,) = torch.autograd.grad(value, z, allow_unused=True)
    assert through is None or not through.any()


def test_what_is_adapted_is_what_the_name_says(world):
    support = TaskSampler(world, 3).sample(6).support
    for kind, wanted in ((MAML(hidden=(8, 8)), 6), (ANIL(hidden=(8, 8)), 2), (MAML(), 2)):
        model = kind.model(world, 0)
        state = GradientLearner(model, model.frozen(), kind.rule(model)).adapt(support)
        assert sorted(name for name in state if name.startswith("phi")) == [
            f"phi_{place}" for place in range(len(model.theta) - wanted, len(model.theta))
        ]


def test_meta_sgd_has_a_rate_for_each_weight(world):
    _, model, _ = _ready("meta_sgd", {"hidden": (6,)}, world)
    assert [rate.shape for rate in model.rates] == [w.shape for w in model.theta]


def test_no_inner_step_is_theta_for_everyone(world):
    for name in ("maml", "fomaml", "anil", "meta_sgd", "melu", "mamo"):
        method, model, rule = _ready(name, {"inner_steps": 0, "hidden": (6,)}, world)
        episode = _episode(world)
        value = method.loss(model, rule, episode)
        assert value.isfinite()
        own = method.loss(model, rule, replace(episode, support=replace(episode.support, rating=episode.support.rating * 0 + 3)))
        if world.goal == "ranking":
            assert value.item() == own.item(), f"{name} reads a support that it takes no step on"


def test_prompts_are_learned_through_their_steps(world):
    method = PromptTuning(width=8)
    luck = torch.Generator().manual_seed(0)
    tuning = _Tuning(method, _Reading(method, world, luck).learner(), luck)
    _double(tuning)
    episode = _episode(world)
    assert _largest_gap(list(tuning.parameters()), lambda: tuning.on(episode)) < 1e-5


def test_meta_emb_is_learned_through_its_steps(world, monkeypatch):
    """The loss that `fit` hands to the outer loop, with its base in float64."""
    from baselines.amortised import meta_emb

    def base(*arguments):
        made = pretrain(*arguments)
        _double(made.model)
        return replace(made, **{field.name: getattr(made, field.name).double() for field in fields(made) if field.name != "model"})

    found = {}

    def outer(parameters, sampler, loss, *rest):
        found.update(parameters=parameters, loss=loss)

    monkeypatch.setattr(meta_emb, "pretrain", base)
    monkeypatch.setattr(meta_emb, "meta_train", outer)
    monkeypatch.setattr(meta_emb, "design_matrix", lambda features: torch.cat([features.dense, features.dense**2], 1).double())
    MetaEmb(width=8, base_steps=20).fit(world, 0, lambda _: 0.0)
    for parameter in found["parameters"]:
        parameter.data = parameter.data.double()
    episode = _episode(world)
    assert _largest_gap(found["parameters"], lambda: found["loss"](episode)) < 1e-5


@pytest.mark.parametrize("name", ["melu", "mamo", "meta_emb", "neural_process", "prompt_tuning"])
def test_a_feature_that_decides_is_read_before_the_first_rating(oracle, name):
    """On a checkerboard that tells who likes what, zero shots are enough."""
    split = oracle("checkerboard", "rating", "melu")
    rows = split.world.ratings
    parity = torch.zeros(split.world.n_entities)
    for tasks in (split.test, split.validation):
        parity[tasks.entity] = ((tasks.pool_rating > 3) == (tasks.pool_partner % 2 == 0))[:, 0].float()
    parity[rows.entity] = ((rows.rating > 3) == (rows.partner % 2 == 0)).float()
    known = replace(Features.empty(split.world.n_entities), dense=parity[:, None] * 2 - 1)
    world = replace(split.world, entity_features=known)
    learner = build(entry(name)).fit(world, 0, validator(replace(split, world=world)))
    support = split.test.support(0)
    scores = learner.score(learner.adapt(support)).detach()
    likes = (torch.arange(world.n_partners) % 2 == 0)[None] == (parity[support.entity] > 0)[:, None]
    above = [(row[own][:, None] > row[~own][None]).float().mean() for row, own in zip(scores, likes, strict=True)]
    assert torch.stack(above).mean() > 0.95
