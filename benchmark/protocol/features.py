"""What is known of users and items beside their ratings: published facts, in the columns that the training side makes of them.

A vocabulary is a count, and counts come from the training side: a word (a tag, a brand, a category) becomes a column where
enough of those who train carry it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from benchmark.contract import Features
from benchmark.data.dataset import Side, Tags, Words
from benchmark.protocol.cuts import Flags, Ints

TAG_USERS = 3  # a tag becomes a feature when this many warm users have given it
CARRIERS = 3  # and a word when this many of those who train carry it
MOST_WORDS = 200  # at most this many of either, the most frequent first


def features(side: Side, order: Ints, counted: Flags, tags: Tags | None = None, known: Flags | None = None) -> Features:
    """The features of `side` in the given order; words are counted over `counted` [n], tags over the users that are `known`."""
    blocks = [side.multi_hot, _word_flags(side.words, counted)]
    if tags is not None and known is not None:
        blocks.append(_tag_flags(tags, len(side), known))
    return Features(
        torch.from_numpy(np.asarray(side.categorical)[order]),
        torch.from_numpy(np.concatenate(blocks, axis=1)[order]),
        torch.from_numpy(np.asarray(side.dense)[order]),
        side.categorical_sizes,
        tuple(side.text[i] for i in order) if side.text else (),
    )


def _word_flags(words: Words, counted: Flags) -> NDArray[np.float32]:
    """Which of n ids carry which word: [n, M]."""
    carriers = np.bincount(words.word[counted[words.index]], minlength=len(words.vocabulary))
    return _flags(words.index, words.word, carriers, CARRIERS, len(counted))


def _tag_flags(tags: Tags, n_items: int, warm: Flags) -> NDArray[np.float32]:
    """Which items warm users gave which tag [n_items, M]; a cold user's tags would tell who she is."""
    known = warm[tags.user]
    item, word = tags.item[known], tags.word[known]
    pairs = np.unique(np.stack([tags.user[known], word]), axis=1)
    givers = np.bincount(pairs[1], minlength=len(tags.words))
    return _flags(item, word, givers, TAG_USERS, n_items)


def _flags(index: Ints, word: Ints, count: Ints, least: int, n: int) -> NDArray[np.float32]:
    """[n, M] for the words with the largest `count`, `least` or more."""
    chosen = np.lexsort((np.arange(len(count)), -count))[:MOST_WORDS]
    chosen = chosen[count[chosen] >= least]
    column = np.full(len(count), -1, dtype=np.int64)
    column[chosen] = np.arange(len(chosen))
    flags = np.zeros((n, len(chosen)), dtype=np.float32)
    used = column[word] >= 0
    flags[index[used], column[word[used]]] = 1.0
    return flags
