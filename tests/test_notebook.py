"""The same from Python: what a notebook may ask, and what it is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import benchmark
from benchmark.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent


def test_a_board_is_loaded_and_methods_are_run(tmp_path):
    split = benchmark.load_board("user-rating", "ml-latest-small", seed=1)
    assert split.world.goal == "rating"
    assert len(split.test) > 50
    torch.manual_seed(3)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    frame = benchmark.run("user-rating", "ml-latest-small", methods=["bias", "item_mean"], seeds=2, out=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert set(frame["method"]) == {"bias", "item_mean", "chance", "oracle"}
    assert set(frame["n_seeds"]) == {2}
    mae = frame[(frame["metric"] == "mae") & (frame["k"] == 20)].set_index("method")["mean"]
    assert mae["oracle"] < mae["bias"] < mae["item_mean"] < mae["chance"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"methods": "popularity"}, "wanted a list of names"),
        ({"methods": [object]}, "wanted a list of names"),
        ({"workers": 0}, "workers got 0"),
        ({"device": "tpu"}, "wanted cpu or cuda"),
        ({"seeds": "x"}, "seeds got 'x'"),
        ({"seeds": 9}, "has 5 seeds, and 9 were asked for"),
        ({"workers": 2, "methods": ["__main__:Mine"]}, "runs with workers=1"),
    ],
)
def test_a_wrong_call_is_one_sentence(tmp_path, arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        benchmark.run("user-rating", "ml-latest-small", out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seed", [5, -1, "0", None])
def test_a_seed_that_is_not_there(seed):
    with pytest.raises(UsageError, match="has seeds 0 to 4, not"):
        benchmark.load_board("user-rating", "ml-latest-small", seed=seed)


SCRIPT = """
from dataclasses import dataclass
import benchmark
from tests.hostile.methods import ConstantScorer

@dataclass(frozen=True)
class Mine(ConstantScorer):
    pass

{guard}benchmark.run("user-rating", "ml-latest-small", methods=[{methods}], seeds=1, out={out!r}, workers={workers})
"""


def _script(tmp_path, **parts):
    file = tmp_path / "script.py"
    file.write_text(SCRIPT.format(out=str(tmp_path / "out"), **parts))
    return subprocess.run(
        [sys.executable, str(file)], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )


def test_a_class_of_the_script_itself(tmp_path):
    assert _script(tmp_path, guard="", methods='"__main__:Mine", "bias"', workers=1).returncode == 0


def test_several_workers_need_the_guard_and_say_so(tmp_path):
    assert _script(tmp_path, guard='if __name__ == "__main__": ', methods='"bias"', workers=2).returncode == 0
    for file in (tmp_path / "out").rglob("*.json"):
        file.unlink()
    done = _script(tmp_path, guard="", methods='"bias"', workers=2)
    assert done.returncode == 1
    assert 'perhaps for want of `if __name__ == "__main__":`' in done.stderr
