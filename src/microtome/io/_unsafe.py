"""The only place of the package that may run code from a file. Nothing here is called by another room by itself."""

import logging
import os
from typing import Any

from microtome.errors import FormatError, UnsafeContent
from microtome.io.hashing import hash_file
from microtome.io.trust import Trust


def load_code(path: str | os.PathLike, *, trust: Trust) -> tuple[Any, dict[str, str]]:
    """Load a pickle or a full torch checkpoint, running whatever code it carries, because you said you trust it.

    Parameters
    ----------
    path : str or PathLike
        One file.
    trust : Trust
        Must be ``Trust.CODE``; there is no default and no global switch.

    Returns
    -------
    value : object
        What the file holds.
    record : dict
        ``{"file", "hash", "trust"}``, to be stored with every result that used the value.

    Raises
    ------
    UnsafeContent
        `trust` is not ``Trust.CODE``.
    FormatError
        The file cannot be loaded even so.
    """
    if trust is not Trust.CODE:
        raise UnsafeContent(
            f"'{os.fspath(path)}' may run code when loaded and was refused. If you would run a program from its "
            "author, pass trust=Trust.CODE for this file; otherwise ask for a safetensors file."
        )
    import torch

    record = {"file": os.path.basename(os.fspath(path)), "hash": hash_file(path), "trust": Trust.CODE.value}
    logging.getLogger(__name__).warning("running code from %s (blake2b %s)", record["file"], record["hash"])
    try:
        return torch.load(path, map_location="cpu", weights_only=False), record
    except Exception as error:
        raise FormatError(f"'{os.fspath(path)}' could not be loaded: {error}. Get it again from its author.") from error
