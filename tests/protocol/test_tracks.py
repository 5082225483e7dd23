"""Every split of every board: as its certificate says, its roles apart, and nothing from the future in training."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from benchmark.data import store, synthetic
from benchmark.data.dataset import Dataset, Tags
from benchmark.errors import ProtocolError
from benchmark.protocol import boards, time_cuts, tracks
from benchmark.protocol.boards import ALL, Pin
from benchmark.protocol.certificates import certificate
from benchmark.protocol.tasks import Tasks, TaskSampler
from benchmark.protocol.tracks import Split
from tests.conftest import board

PAIRS = [(name, dataset) for name in boards.board_names() for dataset in boards.load(name).datasets]
PINNED = [(name, dataset) for name, dataset in PAIRS if boards.load(name).datasets[dataset].fingerprints]


def _marked(pairs):
    """Those that need more than what comes with the code carry the marker."""
    free = ("ml-latest-small", "synthetic-cross-domain", "synthetic-drift")
    return [pytest.param(*pair, marks=[] if pair[1] in free else pytest.mark.data, id="-on-".join(pair)) for pair in pairs]


def _load(dataset: str) -> Dataset:
    if not store.is_here(dataset):
        pytest.skip(f"needs '{dataset}' in the folder that COLDSTART_DATA names")
    return store.load(dataset)


@pytest.mark.parametrize(("name", "dataset"), _marked(PINNED))
def test_a_certificate_is_made_again(name, dataset):
    loaded, one = _load(dataset), boards.load(name)
    made = certificate(one, loaded)
    kept = json.loads((boards.splits_folder() / name / f"{dataset}.json").read_text())
    assert made == kept
    assert tuple(seed["fingerprint"] for seed in made["seeds"]) == one.pin(dataset).fingerprints
    assert all(_says_no_row(leaf) for leaf in _leaves(made["seeds"])), "counts and hashes alone"
    assert len(json.dumps(made)) < 25_000, "a few a seed"


def _leaves(value):
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in _leaves(one)]
    if isinstance(value, list):
        return [leaf for one in value for leaf in _leaves(one)]
    return [value]


def _says_no_row(leaf) -> bool:
    return isinstance(leaf, int | float) or (isinstance(leaf, str) and re.fullmatch(r"[0-9a-f]{64}", leaf) is not None)


def test_only_what_cannot_be_had_here_is_unpinned():
    assert {dataset for name, dataset in PAIRS if (name, dataset) not in PINNED} == {"ml-25m", "ml-32m"}
    certified = {path.relative_to(boards.splits_folder()).with_suffix("").as_posix() for path in boards.splits_folder().rglob("*.json")}
    assert certified == {f"{name}/{dataset}" for name, dataset in PINNED}


@dataclass
class Shown:
    """Rows of one side of a split, as positions in the data set."""

    pool: np.ndarray
    given: np.ndarray
    query: np.ndarray
    task_of_pool: np.ndarray
    task_of_query: np.ndarray


class Rows:
    """Finds the row of a pair (published entity, partner) in a data set."""

    def __init__(self, split: Split, dataset: Dataset) -> None:
        self.n = np.int64(split.world.n_partners)
        self.key = dataset.user * self.n + dataset.item
        self.published = np.argsort(split.labels.entity)
        self.partner = np.arange(self.n) if split.labels.partner is None else np.argsort(split.labels.partner)

    def of(self, entity: torch.Tensor, partner: torch.Tensor) -> np.ndarray:
        wanted = self.published[entity.numpy()] * self.n + self.partner[partner.numpy()]
        place = np.searchsorted(self.key, wanted)
        assert (self.key[np.minimum(place, len(self.key) - 1)] == wanted).all(), "a row that is not in the data"
        return place

    def shown(self, tasks: Tasks) -> Shown:
        task, _ = torch.nonzero(tasks.pool_mask, as_tuple=True)
        source, _ = torch.nonzero(tasks.given_mask, as_tuple=True)
        asked = tasks.query_task()
        return Shown(
            self.of(tasks.entity[task], tasks.pool_partner[tasks.pool_mask]),
            self.of(tasks.entity[source], tasks.given_partner[tasks.given_mask]),
            self.of(tasks.entity[asked], tasks.query_partner),
            task.numpy(),
            asked.numpy(),
        )


def _turned(name: str, dataset: Dataset) -> Dataset:
    return dataset.turned() if name.startswith("item-") else dataset


def _apart(split: Split, dataset: Dataset, shots: tuple[int, ...], everybody_is_known: bool) -> None:
    """What holds on every track."""
    rows = Rows(split, dataset)
    warm = rows.of(split.world.ratings.entity, split.world.ratings.partner)
    assert len(np.unique(warm)) == len(warm)
    for tasks in (split.validation, split.test):
        one = rows.shown(tasks)
        parts = [warm if not everybody_is_known else warm[:0], one.pool, one.given, one.query]
        together = np.concatenate(parts)
        assert len(np.unique(together)) == len(together), "training, support and query share no row"
        assert not np.isin(one.query, warm).any()
        assert np.array_equal(tasks.query_rating.numpy(), dataset.rating[one.query])
        assert np.array_equal(tasks.pool_rating[tasks.pool_mask].numpy(), dataset.rating[one.pool])
        may = tasks.candidates()
        assert bool(may[tasks.query_task(), tasks.query_partner].all()), "what is asked is a candidate"
        task, place = torch.nonzero(tasks.pool_mask, as_tuple=True)
        assert not bool(may[task, tasks.pool_partner[task, place]].any()), "what may be shown is none"
        if shots != (ALL,):
            assert int(tasks.pool_mask.sum(1).min()) >= max(shots)
        assert int(tasks.query_offset.diff().min()) >= 1
        if split.world.goal == "ranking":
            liked = torch.zeros(len(tasks)).index_add_(0, tasks.query_task(), (tasks.query_rating >= split.world.relevant_from).float())
            assert bool((liked > 0).all())
    if not everybody_is_known:
        cold = torch.cat([split.validation.entity, split.test.entity])
        assert len(cold.unique()) == len(cold)
        assert not bool(torch.isin(split.world.ratings.entity, cold).any())


@pytest.mark.parametrize(("name", "dataset"), _marked(PINNED))
def test_roles_are_apart(name, dataset):
    loaded, one = _load(dataset), boards.load(name)
    known = one.track in ("warm", "drift") or one.cut == "melu-item"
    for seed_index in (0, one.pin(dataset).seeds - 1):
        split = tracks.cut(one, loaded, seed_index)
        if len(split.validation):
            _apart(split, _turned(name, loaded), one.on(dataset).shots, known)
        if split.frozen is not None:
            _apart(split.frozen, loaded, one.on(dataset).shots, known)


@pytest.mark.parametrize(("name", "dataset"), _marked([pair for pair in PINNED if boards.load(pair[0]).cut in ("arrival", "windows")]))
def test_nothing_of_the_future_trains(name, dataset):
    loaded, one = _load(dataset), boards.load(name)
    for seed_index in range(min(4, one.pin(dataset).seeds)):
        split = tracks.cut(one, loaded, seed_index)
        for part in (split, *([split.frozen] if split.frozen else [])):
            rows, latest = Rows(part, loaded), int(part.world.ratings.time.max())
            test, validation = rows.shown(part.test), rows.shown(part.validation)
            assert latest < loaded.time[test.query].min()
            for tasks, shown in ((part.test, test), (part.validation, validation)):
                last = np.zeros(len(tasks), dtype=np.int64)
                np.maximum.at(last, shown.task_of_pool, loaded.time[shown.pool])
                assert (loaded.time[shown.query] > last[shown.task_of_query]).all(), "what is asked is strictly later than what is shown"
                assert np.array_equal(tasks.pool_time[tasks.pool_mask].numpy(), loaded.time[shown.pool])
            assert part.world.reads_time
            if one.cut == "arrival":
                assert latest < loaded.time[np.concatenate([test.pool, validation.pool])].min(), "cold entities come after all that trains"
                assert validation.task_of_pool.size, "somebody validates"
            else:
                assert loaded.time[validation.query].max() <= loaded.time[test.query].min()
                mine = loaded.user[test.query]
                asked_from = loaded.time[test.query].min()
                before = loaded.time[np.isin(loaded.user, mine)] < asked_from
                assert before.sum() == len(test.pool), "all that she had before the window is withheld"


def test_arrival_shows_the_first_rows_and_asks_later_ones():
    loaded = store.load("ml-latest-small")
    split = tracks.cut(boards.load("user-arrival-ranking"), loaded, 0)
    came = np.minimum.reduceat(loaded.time, loaded.offset[:-1])
    tested = tracks.published_entities(split, split.test)
    assert came[tested].min() >= np.sort(came)[len(came) - len(came) // 5]
    for k in (1, 5, 20):
        support = split.test.support(k)
        for t in range(0, len(tested), 7):
            mine = np.sort(loaded.time[loaded.offset[tested[t]] : loaded.offset[tested[t] + 1]])
            assert support.time[t, support.mask[t]].tolist() == mine[:k].tolist()
    same = tracks.cut(boards.load("user-arrival-ranking"), loaded, 2)
    assert sorted(tracks.published_entities(same, same.test)) == sorted(tested), "nothing is drawn: each seed asks the same users"
    assert same.seed != split.seed


def test_drift_shows_the_last_rows_before_the_window():
    loaded, one = store.load("synthetic-drift"), boards.load("drift-rating")
    edges = time_cuts._edges(loaded)
    for window in range(4):
        split = tracks.cut(one, loaded, window)
        start, end = edges[6 + window], edges[7 + window]
        tested = tracks.published_entities(split, split.test)
        support = split.test.support(5)
        for t in range(0, len(tested), 11):
            mine = slice(loaded.offset[tested[t]], loaded.offset[tested[t] + 1])
            past = np.sort(loaded.time[mine][loaded.time[mine] < start])
            assert support.time[t].tolist() == past[-5:].tolist(), "oldest first"
            asked = loaded.time[mine][(loaded.time[mine] >= start) & (loaded.time[mine] < end)]
            assert int(split.test.query_offset.diff()[t]) == len(asked)
        assert int(split.world.ratings.time.max()) < start
        assert (split.frozen is None) == (window == 0)
        if split.frozen is not None:
            assert int(split.frozen.world.ratings.time.max()) < edges[6]
            assert torch.equal(split.frozen.test.query_partner, split.test.query_partner)


def test_new_items_are_ranked_among_the_users_that_train():
    loaded = store.load("ml-latest-small")
    split = tracks.cut(boards.load("item-ranking"), loaded, 0)
    assert (split.world.n_entities, split.world.n_partners) == (len(loaded.items), len(loaded.users))
    assert torch.equal(split.test.candidate, split.world.partner_is_warm)
    item = tracks.published_entities(split, split.test)
    features = split.world.entity_features
    assert torch.equal(features.dense[split.test.entity], torch.from_numpy(loaded.items.dense[item]))
    assert split.world.partner_features.width == 0, "tags of users who met the new item would tell what they thought of it"


def test_both_asks_for_items_that_nobody_has_met():
    loaded = store.load("ml-latest-small")
    split = tracks.cut(boards.load("both-ranking"), loaded, 0)
    new, val, warm = split.test.candidate, split.validation.candidate, split.world.partner_is_warm
    assert not bool((new & warm).any())
    assert not bool((new & val).any())
    assert not bool((val & warm).any())
    assert int(new.sum()) == len(loaded.items) // 5
    assert not bool((split.world.partner_is_ranked & (new | val)).any()), "training does not learn that they are never liked"
    other = tracks.cut(boards.load("both-ranking"), loaded, 1)
    assert not torch.equal(other.test.candidate, new)


def test_a_known_user_is_shown_what_trains():
    loaded = store.load("ml-latest-small")
    split = tracks.cut(boards.load("warm-rating"), loaded, 0)
    rows = Rows(split, loaded)
    warm = rows.of(split.world.ratings.entity, split.world.ratings.partner)
    for tasks in (split.test, split.validation):
        shown = rows.shown(tasks)
        assert np.isin(shown.pool, warm).all()
        n = tasks.query_offset.diff().numpy()
        whole = tasks.pool_mask.sum(1).numpy() + n
        assert (n == np.maximum(whole // 5, 5)).all()
    tested = [tracks.published_entities(one, one.test) for one in (tracks.cut(boards.load("warm-rating"), loaded, i) for i in range(3))]
    assert len(np.unique(np.concatenate(tested))) == sum(map(len, tested)), "seeds test other users"


@pytest.mark.parametrize("name", ["both-ranking", "user-arrival-ranking"])
def test_ids_of_cold_partners_tell_nothing(name):
    """In the file, films of a time have ids of like size: the popularity of its neighbours would tell that of a new one."""
    loaded, gain = store.load("ml-latest-small"), []
    for seed_index in range(3):
        split = tracks.cut(boards.load(name), loaded, seed_index)
        world, cold = split.world, split.test.candidate & ~split.world.partner_is_warm
        liked = torch.zeros(world.n_partners).index_add_(0, split.test.query_partner, (split.test.query_rating >= 4.0).float())
        for label in (torch.arange(world.n_partners), torch.from_numpy(np.argsort(split.labels.partner))):
            met = torch.bincount(label[world.ratings.partner], minlength=world.n_partners).float()
            near = torch.nn.functional.avg_pool1d(met[None, None], 21, stride=1, padding=10)[0, 0]
            pair = torch.stack([near[label[cold]], liked[cold]]).argsort(1).argsort(1).double()
            gain.append(float(torch.corrcoef(pair)[0, 1]))
    told, hidden = np.mean(gain[1::2]), np.mean(gain[::2])
    assert abs(hidden) < 0.05
    assert name != "both-ranking" or told > 0.08, "as published they would tell"


def test_a_known_users_tags_on_what_is_held_out_reach_no_feature():
    loaded, one = store.load("ml-latest-small"), boards.load("warm-ranking")
    split = tracks.cut(one, loaded, 0)
    rows = Rows(split, loaded)
    asked = np.concatenate([rows.shown(tasks).query for tasks in (split.test, split.validation)])
    pairs = {(int(loaded.user[row]), int(loaded.item[row])) for row in asked}
    told = np.array([pair in pairs for pair in zip(loaded.tags.user.tolist(), loaded.tags.item.tolist(), strict=True)])
    assert told.sum() > 20
    tags = replace(loaded.tags, user=loaded.tags.user[~told], item=loaded.tags.item[~told], word=loaded.tags.word[~told])
    without = tracks.cut(one, replace(loaded, tags=tags), 0)
    assert torch.equal(without.world.partner_features.multi_hot, split.world.partner_features.multi_hot)
    assert split.world.partner_features.width > loaded.items.multi_hot.shape[1] + 50, "the others' tags count"


def test_cross_domain_gives_the_whole_source_at_each_k():
    loaded, one = store.load("synthetic-cross-domain"), boards.load("cross-domain-ranking")
    split = tracks.cut(one, loaded, 0)
    rows = Rows(split, loaded)
    shown = rows.shown(split.test)
    tested = tracks.published_entities(split, split.test)
    theirs = np.isin(loaded.user, tested) & (loaded.domain[loaded.item] > 0)
    assert np.array_equal(np.sort(shown.given), np.flatnonzero(theirs))
    for k in one.shots:
        support = split.test.support(k)
        source = split.world.partner_domain[support.partner] > 0
        assert bool((source & support.mask).sum(1).eq(split.test.given_mask.sum(1)).all())
        assert bool((~source & support.mask).sum(1).eq(k).all()), "source rows count in no k"
    assert torch.equal(split.test.candidate, split.world.partner_domain == 0)
    assert torch.equal(split.world.partner_is_ranked, split.world.partner_domain == 0)
    assert bool((split.world.partner_domain[split.test.query_partner] == 0).all())


def test_training_tasks_of_two_domains_and_of_time_look_like_the_tests():
    cross = tracks.cut(boards.load("cross-domain-ranking"), store.load("synthetic-cross-domain"), 0).world
    episode = TaskSampler(cross, 0).sample(64)
    source = cross.partner_domain[episode.support.partner] > 0
    assert bool(((source & episode.support.mask).sum(1) > 0).all())
    assert set((~source & episode.support.mask).sum(1).tolist()) == set(cross.shots)
    assert bool((cross.partner_domain[episode.query_partner[episode.query_mask]] == 0).all())
    for name, dataset, order in (("drift-rating", "synthetic-drift", "last"), ("user-arrival-rating", "ml-latest-small", "first")):
        world = tracks.cut(boards.load(name), store.load(dataset), 0).world
        assert world.support_order == order
        rows = world.ratings
        when = dict(zip(zip(rows.entity.tolist(), rows.partner.tolist(), strict=True), rows.time.tolist(), strict=True))
        episode = TaskSampler(world, 1).sample(64)
        for t in range(64):
            entity, mask = int(episode.support.entity[t]), episode.support.mask[t]
            shown = episode.support.time[t, mask].tolist()
            pool = [when[entity, p] for p in episode.pool[t].tolist()]
            query = [when[entity, p] for p in episode.query_partner[t, episode.query_mask[t]].tolist()]
            assert [when[entity, p] for p in episode.support.partner[t, mask].tolist()] == shown
            assert pool == sorted(pool)
            assert query == sorted(query)
            assert query
            assert pool[-1] <= query[0]
            assert shown == (pool[len(pool) - len(shown) :] if order == "last" else pool[: len(shown)])


@pytest.mark.parametrize(
    ("track", "goal", "cut", "make", "wanted"),
    [
        (
            "cross-domain",
            "ranking",
            "random",
            synthetic.interaction,
            "needs a data set of two domains, and 'synthetic-interaction'",
        ),
        ("drift", "rating", "windows", lambda: replace(synthetic.interaction(), clock=False), "tells the order of each user's rows alone"),
        ("user", "rating", "arrival", lambda: replace(synthetic.interaction(), clock=False), "needs time stamps"),
        ("user", "rating", "random", lambda: replace(synthetic.interaction(), implicit=True), "has events without any"),
        ("drift", "rating", "windows", lambda: synthetic.interaction(rows=12), "0 validation tasks before window 1"),
    ],
)
def test_a_data_set_that_a_track_cannot_use_is_one_sentence(track, goal, cut, make, wanted):
    one = replace(board(goal), track=track, cut=cut, datasets={"any": Pin(4, ())})
    with pytest.raises(ProtocolError, match=wanted):
        tracks.cut(one, make(), 0)


def test_events_without_ratings_are_all_relevant():
    split = tracks.cut(boards.load("cross-domain-ranking"), store.load("synthetic-cross-domain"), 0)
    assert split.world.relevant_from == 1.0
    assert split.world.rating_range == (0.0, 1.0)
    assert bool((split.test.query_rating == 1.0).all())


def test_words_become_features_where_those_who_train_carry_them():
    loaded = store.load("ml-latest-small")
    n = len(loaded.items)
    warm = tracks.cut(boards.load("user-rating"), loaded, 0).world.partner_is_warm.numpy()
    first, cold = np.flatnonzero(warm)[:3], np.flatnonzero(~warm)[:5]
    index, word = np.concatenate([first, cold, first[:2]]), np.repeat([0, 1, 2], [3, 5, 2])
    words = replace(loaded.items.words, index=index, word=word, vocabulary=("carried", "by the cold", "too rare"))
    world = tracks.cut(boards.load("user-rating"), replace(loaded, items=replace(loaded.items, words=words)), 0).world
    plain = tracks.cut(boards.load("user-rating"), loaded, 0).world.partner_features.multi_hot
    assert world.partner_features.multi_hot.shape == (n, plain.shape[1] + 1)
    column = world.partner_features.multi_hot[:, loaded.items.multi_hot.shape[1]]
    assert column.nonzero().flatten().tolist() == sorted(first.tolist())


@pytest.mark.parametrize("name", ["warm-ranking", "warm-rating"])
def test_what_a_known_user_says_of_what_she_is_asked_is_no_feature(name):
    loaded = store.load("ml-latest-small")
    split = tracks.cut(boards.load(name), loaded, 0)
    rows = Rows(split, loaded)
    asked = np.concatenate([rows.shown(tasks).query for tasks in (split.test, split.validation)])
    shown = np.setdiff1d(np.arange(len(loaded)), asked)[:500]
    for one, n_words in ((asked, 0), (shown, 1)):
        tags = Tags(loaded.user[one].astype(np.int64), loaded.item[one].astype(np.int64), np.zeros(len(one), dtype=np.int64), ("seen",))
        world = tracks.cut(boards.load(name), replace(loaded, tags=tags), 0).world
        assert world.partner_features.multi_hot.shape[1] == loaded.items.multi_hot.shape[1] + n_words


@pytest.mark.parametrize("name", ["user-arrival-rating", "both-rating"])
def test_tags_are_no_features_where_they_may_come_from_the_future_or_tell_of_new_items(name):
    loaded = store.load("ml-latest-small")
    assert len(loaded.tags.words)
    world = tracks.cut(boards.load(name), loaded, 0).world
    assert world.partner_features.multi_hot.shape[1] == loaded.items.multi_hot.shape[1]


def test_words_of_new_items_make_no_vocabulary():
    loaded = store.load("ml-latest-small")
    split = tracks.cut(boards.load("item-rating"), loaded, 0)
    cold = np.sort(tracks.published_entities(split, split.test))
    warm = np.setdiff1d(np.arange(len(loaded.items)), np.concatenate([cold, tracks.published_entities(split, split.validation)]))
    index, word = np.concatenate([cold[:5], warm[:3]]), np.repeat([0, 1], [5, 3])
    words = replace(loaded.items.words, index=index, word=word, vocabulary=("of the cold", "of who trains"))
    world = tracks.cut(boards.load("item-rating"), replace(loaded, items=replace(loaded.items, words=words)), 0).world
    assert world.entity_features.multi_hot.shape[1] == loaded.items.multi_hot.shape[1] + 1


@pytest.mark.parametrize(("name", "dataset"), [("user-arrival-rating", "ml-latest-small"), ("drift-rating", "synthetic-drift")])
def test_training_ranks_whom_it_could_have_met(name, dataset):
    loaded, one = store.load(dataset), boards.load(name)
    split = tracks.cut(one, loaded, 1)
    for part in (split, *([split.frozen] if split.frozen else [])):
        if one.cut == "arrival":
            cold = tracks.published_entities(part, replace(part.test, entity=torch.cat([part.test.entity, part.validation.entity])))
            fit = np.minimum.reduceat(loaded.time, loaded.offset[:-1])[cold].min()
            met = loaded.time < fit
        else:
            met = loaded.time < time_cuts._edges(loaded)[6 + (part is split)]
        ranked = torch.zeros(len(loaded.items), dtype=torch.bool)
        ranked[torch.from_numpy(part.labels.partner[loaded.item[met]])] = True
        assert not bool((part.world.partner_is_ranked & ~ranked).any())
        assert not bool(part.world.partner_is_ranked.all())
