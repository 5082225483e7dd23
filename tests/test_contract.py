"""Records of tensors: moved, copied, cut."""

from __future__ import annotations

import torch

from benchmark.contract import Features, Support


def test_records_move_and_copy_as_one(oracle):
    world = oracle("checkerboard", "rating").world
    copy = world.clone()
    copy.ratings.rating.zero_()
    copy.partner_is_warm.zero_()
    assert world.ratings.rating.any()
    assert world.partner_is_warm.any()
    moved = world.to("meta")
    assert {moved.device.type, moved.ratings.rating.device.type, moved.partner_features.dense.device.type} == {"meta"}
    assert (moved.n_entities, moved.goal, moved.shots) == (world.n_entities, world.goal, world.shots)


def test_a_support_is_cut_by_rows(oracle):
    support = oracle("checkerboard", "rating").test.support(2)
    back = support[torch.tensor([3, 1])]
    assert isinstance(back, Support)
    assert back.entity.tolist() == [int(support.entity[3]), int(support.entity[1])]
    assert back.count().tolist() == [2.0, 2.0]


def test_nothing_known_has_no_width():
    nothing = Features.empty(4)
    assert (len(nothing), nothing.width) == (4, 0)
