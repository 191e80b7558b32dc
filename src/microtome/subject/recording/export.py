"""A recording in other people's formats, and its hash."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from microtome.errors import MissingExtra

if TYPE_CHECKING:
    import xarray

    from microtome.subject.recording.recording import Recording


def to_numpy(values: Tensor) -> np.ndarray:
    """The values as an array of their own; numpy has no bfloat16, so it becomes float32."""
    values = values.float() if values.dtype == torch.bfloat16 else values
    return values.numpy().copy()


def to_xarray(recording: Recording) -> xarray.Dataset:
    """One variable per site over (row, feature axes); index columns and labels are coordinates of `row`.

    Provenance goes to the attributes as text.
    """
    try:
        import xarray
    except ImportError as error:
        raise MissingExtra.of("xarray", "xarray") from error
    variables = {}
    for name in recording.sites:
        one = recording[name]
        variables[name] = (("row", *(f"{name}:{axis}" for axis in one.axes)), to_numpy(one.tensor()))
    columns = {name: ("row", recording.index[name].to_numpy()) for name in recording.index.columns}
    labels = {f"label:{name}": ("row", recording.labels(name)) for name in recording.properties}
    attributes = {key: str(value) for key, value in recording.provenance.items()}
    return xarray.Dataset(variables, coords=columns | labels, attrs=attributes)


def fingerprint(recording: Recording, step: int) -> str:
    """Blake2b over sites, shapes, dtypes, values, index and labels, streamed `step` rows at a time."""
    digest = hashlib.blake2b(digest_size=16)
    for name in recording.sites:
        one = recording[name]
        digest.update(f"{name}|{one.shape}|{one.dtype}".encode())
        for lo in range(0, len(one), step):
            values = one._read(name, lo, min(lo + step, len(one))).contiguous()
            digest.update(values.flatten().view(torch.uint8).numpy())
    described = {f"index {name}": recording.index[name].to_numpy() for name in recording.index.columns}
    described |= {f"label {name}": recording.labels(name) for name in recording.properties}
    for name, values in described.items():
        plain = values.tobytes() if values.dtype.kind in "iufb" else repr(values.tolist()).encode()
        digest.update(f"{name!r}|{len(plain)}|".encode() + plain)
    return digest.hexdigest()
