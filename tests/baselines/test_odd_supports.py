"""Every method on supports that are odd but allowed, and the sentence for those that are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from baselines import METHODS
from baselines.nn import chunks, text_encoder
from baselines.nn.pretrained import pretrain
from benchmark.contract import Features, Support
from benchmark.evaluation.evaluate import evaluate, validator
from benchmark.running.methods import build, entry
from benchmark.trust import laws
from benchmark.trust.laws import scores

GOALS = ("ranking", "rating")


def _support(world, partner, rating, entity=0):
    mask = torch.ones(1, len(partner), dtype=torch.bool)
    columns = torch.tensor([partner]), torch.tensor([rating], dtype=torch.float32)
    return Support(torch.tensor([entity]), *columns, torch.zeros(1, len(partner), dtype=torch.int64), mask)


def _learner(oracle, fitted, name, goal):
    split = oracle("interaction", goal, name)
    if build(entry(name)).unsupported(split.world):
        pytest.skip("n/a at this goal")
    return split.world, fitted(name, "interaction", goal)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", METHODS)
def test_one_row_equal_ratings_and_the_ends_of_the_scale(oracle, fitted, name, goal):
    world, learner = _learner(oracle, fitted, name, goal)
    low, high = world.rating_range
    for partner, rating in (([3], [high]), ([3], [low]), (list(range(10)), [high] * 10), (list(range(10)), [low] * 10)):
        support = _support(world, partner, rating).checked(world)
        got = scores(learner, support)
        assert got.shape == (1, world.n_partners)
        assert got.isfinite().all()


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", ["melu", "mamo", "maml", "relation_network", "neural_process", "set_encoder", "prompt_tuning", "mwuf"])
def test_more_tasks_than_fit_at_once_are_adapted_and_scored_in_runs(oracle, fitted, name, goal, monkeypatch):
    split = oracle("interaction", goal, name)
    learner, support = fitted(name, "interaction", goal), split.test.support(5)
    whole, longest = scores(learner, support), []
    seen = chunks.chunks
    monkeypatch.setattr(chunks, "ON_CPU", 1)
    monkeypatch.setattr(chunks, "chunks", lambda n, *rest: longest.append(n) or seen(n, *rest))
    learner.adapt(support)
    assert name == "relation_network" or longest == [len(support)], "adapt works in runs"
    torch.testing.assert_close(scores(learner, support), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"partner": torch.tensor([[80, 1]])}, r"task 0, row 0: partner is 80, wanted 0 to 79"),
        ({"partner": torch.tensor([[1, -1]])}, r"task 0, row 1: partner is -1, wanted 0 to 79"),
        ({"entity": torch.tensor([600])}, r"task 0: entity is 600, wanted 0 to 599"),
        ({"rating": torch.tensor([[5.0, 11.0]])}, r"task 0, row 1: rating is 11, wanted 0 to 10"),
        ({"rating": torch.tensor([[float("nan"), 1.0]])}, r"row 0: rating is nan"),
        ({"mask": torch.tensor([[True, False]])}, r"row 1: rating is 6, wanted 0 where masked out"),
    ],
)
def test_a_support_that_cannot_be_is_one_sentence(oracle, change, sentence):
    world = oracle("interaction", "rating").world
    good = _support(world, [1, 2], [5.0, 6.0])
    assert good.checked(world) is good
    with pytest.raises(ValueError, match=sentence):
        replace(good, **change).checked(world)


@pytest.mark.parametrize("name", ["melu", "prompt_tuning_text"])
def test_an_empty_feature_block_is_a_reason_to_print(oracle, name):
    assert build(entry(name)).unsupported(oracle("interaction", "rating").world)


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize(
    "name", [name for name in METHODS if name not in ("random", "popularity", "item_mean", "bias", "user_mean", "constant")]
)
def test_features_of_the_entity_are_read_without_harm(oracle, name, goal):
    """A world that knows nothing of its partners but three blocks of its entities."""
    split = oracle("interaction", goal, name)
    method = build(entry(name, {field: 3 for field in ("steps", "base_steps", "rounds", "epochs") if hasattr(build(entry(name)), field)}))
    if method.unsupported(split.world):
        pytest.skip("n/a at this goal")
    luck, n = torch.Generator().manual_seed(0), split.world.n_entities
    known = Features(
        torch.randint(4, (n, 2), generator=luck),
        (torch.rand(n, 5, generator=luck) < 0.3).float(),
        torch.randn(n, 1, generator=luck),
        (4, 4),
    )
    world = replace(split.world, entity_features=known)
    area = evaluate(method.fit(world, 0, validator(split)), split.board, world, split.test).area(split.board.metric)
    assert 0 < area < (1 if goal == "ranking" else 3), "no better than a guess"


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("name", ["maml", "fomaml", "meta_sgd", "anil", "reptile", "mamo"])
def test_gradient_methods_adapt_deep_networks_too(oracle, name, goal):
    split = oracle("interaction", goal)
    learner = build(entry(name, {"hidden": (12, 8), "steps": 3, "negatives": 16})).fit(split.world, 0, validator(split))
    support = split.test.support(5)
    alone = scores(learner, support[3:4])
    torch.testing.assert_close(scores(learner, support)[3:4], alone, rtol=1e-4, atol=1e-4)
    partner = torch.tensor([[7, 3, 79]]).expand(len(support), -1)
    torch.testing.assert_close(scores(learner, support, partner), scores(learner, support).gather(1, partner), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["maml", "melu", "set_encoder", "neural_process", "prompt_tuning"])
def test_a_loss_that_is_not_finite_names_the_step_and_the_rate(oracle, name):
    split = oracle("interaction", "rating", name)
    method = build(entry(name, {"learning_rate": 1e30, "steps": 100}))
    with pytest.raises(FloatingPointError, match=r"not finite at step [1-9] with learning rate 1e\+30"):
        method.fit(split.world, 0, validator(split))
    method = build(entry(name, {"learning_rate": 1e30, "steps": 100, "evaluate_every": 1}))
    with pytest.raises(FloatingPointError, match=r"not finite at step [1-9] with learning rate 1e\+30"):
        method.fit(split.world, 0, validator(split))


@pytest.mark.parametrize("name", ["meta_emb", "mwuf"])
def test_the_base_of_a_warm_up_method_names_its_own_rate(oracle, name):
    split = oracle("interaction", "rating", name)
    with pytest.raises(FloatingPointError, match=r"at step \d+ with learning rate 1e\+30"):
        build(entry(name, {"base_learning_rate": 1e30})).fit(split.world, 0, validator(split))


def test_the_base_of_warm_up_methods_learns_no_entity_mean(oracle):
    """On an additive world u_e . z_p has nothing to say, least of all the entity's own mean a second time."""
    world = oracle("additive", "rating").world
    base = pretrain(world, 8, 0.1, 200, 0.02, 0)
    mean, warm = base.model.bias.warm_entity(world), world.ratings.entity.unique()
    told = (base.u @ base.z.T).mean(1)[warm]
    slope = float((told * mean[warm]).sum() / mean[warm].square().sum())
    assert abs(slope) < 0.15, f"{slope:.2f} of the entity's mean is counted twice"


@pytest.mark.parametrize("goal", GOALS)
def test_full_context_embeddings_solve_the_checkerboard_too(oracle, goal):
    split = oracle("checkerboard", goal)
    learner = build(entry("matching_network", {"context": True})).fit(split.world, split.seed, validator(split))
    support = split.test.support(5)
    for law in (laws.support_order_does_not_matter, laws.padding_changes_nothing, laws.a_batch_equals_its_tasks):
        law(learner, split.world, support)
    even = torch.arange(split.world.n_partners) % 2 == 0
    likes_even = ((split.test.pool_rating > 3) == (split.test.pool_partner % 2 == 0))[:, 0]
    got = scores(learner, support)
    lead = got[:, even].mean(1) - got[:, ~even].mean(1)
    assert ((lead > 0) == likes_even).all()


def test_a_torn_or_foreign_cache_of_texts_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path))
    monkeypatch.setattr(text_encoder, "_encode", lambda texts: np.ones((len(texts), text_encoder.WIDTH), dtype=np.float32))
    first = text_encoder.sentence_vectors(["red", "blue"])
    (cached,) = (tmp_path / "text").glob("*.npy")
    for content in (b"", b"not an array"):
        cached.write_bytes(content)
        assert torch.equal(text_encoder.sentence_vectors(["red", "blue"]), first)
    np.save(cached, np.zeros((5, 3), dtype=np.float32))
    assert torch.equal(text_encoder.sentence_vectors(["red", "blue"]), first)


def test_runs_of_like_length_hold_every_task_and_row_once(monkeypatch):
    """Also rows after a gap, as where a source domain's are padded before the target's."""
    mask = torch.tensor([[1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]).bool()
    assert chunks.lengths(mask).tolist() == [4, 2, 0, 1]
    for room in (1, 8, 1000):
        monkeypatch.setattr(chunks, "ON_CPU", room)
        runs = list(chunks.in_length_order(mask, 1))
        assert sorted(task for run, _ in runs for task in run.tolist()) == [0, 1, 2, 3]
        assert sum(int(mask[run, :longest].sum()) for run, longest in runs) == int(mask.sum())
        assert all(len(run) == 1 or len(run) * longest <= room for run, longest in runs)
    assert [longest for _, longest in chunks.in_length_order(mask[:0], 1)] == [4], "one run, be it empty"


def test_texts_in_another_order_are_not_encoded_again(tmp_path, monkeypatch):
    """Boards and seeds draw ids anew, and with them the order of the texts."""
    asked = []

    def encode(texts):
        asked.append(list(texts))
        return np.stack([np.full(text_encoder.WIDTH, len(text), dtype=np.float32) for text in texts])

    monkeypatch.setenv("COLDSTART_CACHE", str(tmp_path))
    monkeypatch.setattr(text_encoder, "_encode", encode)
    for texts in (["red", "blue", "red"], ["blue", "red"]):
        assert text_encoder.sentence_vectors(texts)[:, 0].tolist() == [len(text) for text in texts]
    assert asked == [["blue", "red"]]


def test_text_on_the_side_of_the_entity_is_read_too(oracle):
    """Item cold-start: what arrives has a text, and the partners are bare users."""
    split = oracle("interaction", "ranking")
    words = Features.empty(split.world.n_entities)
    world = replace(split.world, entity_features=replace(words, text=("a red one",) * len(words)))
    method = build(entry("prompt_tuning_text", {"steps": 2}))
    assert method.unsupported(split.world) == "there is no text"
    assert method.unsupported(world) is None
    assert method.fit(world, 0, validator(split)).adapt(split.test.support(0))["prompt"].isfinite().all()
    known = replace(split.world, entity_features=replace(words, dense=torch.randn(len(words), 2)))
    melu = build(entry("melu", {"steps": 2}))
    for goal in GOALS:
        own = replace(known, goal=goal)
        assert melu.unsupported(own) is None
        learner = melu.fit(own, 0, lambda _: 0.0)
        assert scores(learner, split.test.support(5)).isfinite().all()


@pytest.mark.parametrize("name", ["maml", "meta_sgd", "anil", "melu", "prompt_tuning"])
def test_a_support_longer_than_those_of_training_does_not_overshoot(oracle, fitted, name):
    """Of 45 rows up to 10 are shown in training. With 35, an inner step as long as the sum of its rows would leave what was learned."""
    _, learner = _learner(oracle, fitted, name, "rating")
    test = oracle("interaction", "rating", name).test
    partner, rating, mask = test.padded_query()
    assert mask.all()
    assert partner.shape[1] == 35
    shown, asked = slice(0, 25), slice(25, None)
    few = test.support(10)
    columns = [torch.cat([own, more[:, shown]], 1) for own, more in ((few.partner, partner), (few.rating, rating))]
    many = Support(test.entity, *columns, torch.zeros_like(columns[0]), torch.ones_like(columns[0], dtype=torch.bool))
    short, long = ((scores(learner, one, partner[:, asked]) - rating[:, asked]).abs().mean() for one in (few, many))
    assert long < 1.02 * short
