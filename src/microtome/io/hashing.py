"""Content hashes: blake2b, 32 bytes, written as hexadecimal."""

import hashlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from microtome.io.paths import opened

if TYPE_CHECKING:
    import torch


def hash_bytes(data: bytes) -> str:
    """The blake2b hash of `data`.

    >>> hash_bytes(b"")[:16]
    '0e5751c026e543b2'
    """
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def hash_file(path: str | os.PathLike) -> str:
    """The blake2b hash of a file's content, read in blocks of 1 MiB."""
    digest = hashlib.blake2b(digest_size=32)
    with opened(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_tensors(tensors: Mapping[str, "torch.Tensor"]) -> str:
    """One hash of names, dtypes, shapes and values, independent of order, device, strides and storage.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Any dtype, any shape; meta tensors are hashed by dtype and shape alone.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> import torch
    >>> a, b = torch.eye(2), torch.ones(3)
    >>> hash_tensors({"a": a, "b": b}) == hash_tensors({"b": b, "a": a.T.contiguous().T})
    True
    """
    import torch

    digest = hashlib.blake2b(digest_size=32)
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        head = f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode("utf-8", errors="surrogatepass")
        digest.update(len(head).to_bytes(8, "little") + head)
        if tensor.is_meta or tensor.numel() == 0:
            continue
        tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
        flat = tensor.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
        digest.update(memoryview(flat.numpy()))
    return digest.hexdigest()
