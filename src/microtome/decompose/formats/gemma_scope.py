"""Gemma Scope: ``params.npz`` (of the second, ``params.safetensors``) with a JumpReLU dictionary of inputs as they are."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from microtome import io
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formats.common import make, take, verify
from microtome.decompose.transcoding import Transcoder
from microtome.errors import FormatError, UsageError

NAMES = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")}
FILES = ("params.npz", "params.safetensors")


def load_gemma_scope(path: str | Path, *, site: str, writes: str | None = None, recording: Any = None) -> SparseDictionary:
    """Read ``params.npz`` of Gemma Scope, or ``params.safetensors`` of Gemma Scope 2.

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
        When an array is missing or transposed, or codes are to be scaled.
    SubjectMismatch
        When the recording does not fit.
    """
    path = Path(path)
    if path.is_dir():
        path = next((path / name for name in FILES if (path / name).is_file()), path / FILES[0])
    found = io.read_tensors(path) if path.suffix == ".safetensors" else io.read_npz(path)
    found = {f"W{name[1:]}" if name.startswith("w_") else name: torch.as_tensor(value) for name, value in found.items()}
    if "scaling_factor" in found and not bool((found["scaling_factor"] == 1).all()):
        raise FormatError(f"'{path}' scales its codes by a 'scaling_factor', which this reader would drop.")
    skip = found.get("affine_skip_connection")
    if skip is not None and writes is None:
        raise FormatError(f"'{path}' holds a transcoder with a skip connection; say what it writes with writes=.")
    parts: dict[str, Any] = take(found, NAMES, path) | {"activation": "jumprelu"}
    more: dict[str, Any] = {"centred": False} if writes is None else {"writes": writes, "W_skip": skip}
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
