"""Gemma Scope: ``params.npz`` with a JumpReLU dictionary whose input is not centred."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from microtome import io
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formats.common import make, take, verify
from microtome.decompose.transcoding import Transcoder
from microtome.errors import UsageError

NAMES = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")}


def load_gemma_scope(path: str | Path, *, site: str, writes: str | None = None, recording: Any = None) -> SparseDictionary:
    """Read ``params.npz`` of Gemma Scope.

    Parameters
    ----------
    path : path
        The file, or its folder.
    site : str
        Which the file does not say, e.g. ``blocks.12.resid_post``.
    writes : str, optional
        For a transcoder (which reads the MLP's normed input): the MLP's output.
    recording : Recording, optional
        To check the dictionary on, without first tokens (they were left out of training).

    Raises
    ------
    FormatError
        When an array is missing or transposed.
    SubjectMismatch
        When the recording does not fit.
    """
    path = Path(path)
    path = path / "params.npz" if path.is_dir() else path
    parts: dict[str, Any] = take(io.read_npz(path), NAMES, path) | {"activation": "jumprelu"}
    more = {"centred": False} if writes is None else {"writes": writes}
    made = make(path, site, parts | more, cls=SparseDictionary if writes is None else Transcoder)
    made.name = "gemma_scope"
    return verify(made, recording, first_token=False)


def save_gemma_scope(dictionary: SparseDictionary, path: str | Path) -> None:
    """Write a dictionary as ``params.npz``; b_dec taken from the input goes into the encoder's bias.

    Raises
    ------
    UsageError
        When the dictionary is TopK, which thresholds cannot express.
    """
    if dictionary.activation == "topk":
        raise UsageError("Gemma Scope's format holds thresholds; a topk dictionary has none. Use save_saelens.")
    if isinstance(dictionary, Transcoder) and dictionary.W_skip is not None:
        raise UsageError("Gemma Scope's format has no place for a skip connection.")
    parts = {name: value.detach().cpu() for name, value in dictionary.tensors().items()}
    if dictionary.centred:
        parts["b_enc"] = parts["b_enc"] - parts["b_dec"] @ parts["W_enc"]
    parts.setdefault("threshold", torch.zeros_like(parts["b_enc"]))
    io.write_npz(Path(path), {name: np.ascontiguousarray(parts[name].numpy()) for name in NAMES})
