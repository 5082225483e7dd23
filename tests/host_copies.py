"""Notices what would make a GPU wait for the host, while everything runs on a CPU.

Two layers see what happens: the dispatcher, every operation with its tensors, those of a backward pass
among them; and the functions of torch, moves between host and device, which are nothing on a CPU and
never reach the dispatcher.
"""

from __future__ import annotations

import traceback
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# What waits on CUDA, and why. `nonzero` and its like: the size of the result is a number on the device.
WAITS = {
    "_local_scalar_dense": "reads a number: item(), bool(), int(), float(), a tensor as an index",
    "is_nonzero": "reads a number",
    "equal": "answers with a number of the host",
    "allclose": "answers with a number of the host",
    "nonzero": "its size depends on the values",
    "nonzero_numpy": "its size depends on the values",
    "argwhere": "its size depends on the values",
    "masked_select": "its size depends on the values",
    "_unique2": "its size depends on the values",
    "unique_dim": "its size depends on the values",
    "unique_consecutive": "its size depends on the values",
    "bincount": "its size is the largest value, or `minlength`: it reads the largest",
    "histc": "reads the least and the largest value",
    "_linalg_check_errors": "reads whether a factorisation failed; the `_ex` forms do not",
    "_assert_scalar": "reads a number",
}
MASKS = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put")
MOVES = {
    torch.tensor: "makes a tensor from numbers of the host",
    torch.as_tensor: "makes a tensor from numbers of the host",
    torch.from_numpy: "makes a tensor from numbers of the host",
    Tensor.new_tensor: "makes a tensor from numbers of the host",
    Tensor.cpu: "copies to the host",
    Tensor.numpy: "copies to the host",
    Tensor.tolist: "copies to the host",
    Tensor.cuda: "copies to the device",
}


class HostCopies(TorchDispatchMode):
    """Within `with HostCopies() as watch:`, `watch.seen` counts the waits by operation and place in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self._functions = _Moves(self)

    def __enter__(self) -> HostCopies:
        self._functions.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._functions.__exit__(*error)

    def note(self, what: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if "/benchmark/" in frame.filename or "/baselines/" in frame.filename]
        place = f"{frames[-1].filename.rsplit('/', 1)[1]}, {frames[-1].name}: {frames[-1].line}" if frames else "no file of ours"
        self.seen[f"{what} in {place}"] += 1

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        asked = (_reads_a_mask, _multinomial_waits, _repeats_by_a_tensor, _comes_from_a_list, _leaves_its_device)
        if name in WAITS or any(one(name, args, kwargs) for one in asked):
            self.note(name)
        return func(*args, **kwargs)


class _Moves(TorchFunctionMode):
    def __init__(self, watch: HostCopies) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in MOVES or (func is Tensor.to and _names_a_device(args[1:], kwargs)):
            self._watch.note(func.__name__)
        return func(*args, **kwargs)


def _names_a_device(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return any(isinstance(one, (torch.device, str, Tensor)) for one in (*args, *kwargs.values()))


Kwargs = dict[str, Any]


def _reads_a_mask(name: str, args: tuple[Any, ...], _: Kwargs) -> bool:
    """Indexing by a mask is indexing by its nonzero places; filling where a mask holds is not."""
    if name not in MASKS:
        return False
    masks = [one for one in args[1] if one is not None and one.dtype in (torch.bool, torch.uint8)]
    fills = name != "index" and args[2].numel() == 1 and len(masks) == len([one for one in args[1] if one is not None]) == 1
    return bool(masks) and not fills


def _multinomial_waits(name: str, args: tuple[Any, ...], kwargs: Kwargs) -> bool:
    """Without replacement, or of one draw, it checks the weights on the host."""
    return name == "multinomial" and (args[1] == 1 or not (args[2] if len(args) > 2 else kwargs.get("replacement", False)))


def _repeats_by_a_tensor(name: str, args: tuple[Any, ...], kwargs: Kwargs) -> bool:
    """The length of the result is their sum, unless it is given."""
    return name == "repeat_interleave" and isinstance(args[-1], Tensor) and kwargs.get("output_size") is None


def _comes_from_a_list(name: str, args: tuple[Any, ...], _: Kwargs) -> bool:
    """A list as an index; a single number that is written goes along with the operation."""
    return name == "lift_fresh" and args[0].dim() > 0


def _leaves_its_device(name: str, args: tuple[Any, ...], kwargs: Kwargs) -> bool:
    return name == "_to_copy" and kwargs.get("device") not in (None, args[0].device)
