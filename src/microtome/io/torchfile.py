"""PyTorch checkpoints (.pt, .pth, .bin): tensors and plain values only, and no second way in."""

import os
import warnings
import zipfile
from typing import Any

from microtome.errors import FormatError, UnsafeContent
from microtome.io.paths import opened, regular_file

SAFE_SINCE = (2, 10)  # earlier loaders can corrupt memory even with weights_only (CVE-2026-24747)
_WAY_OUT = "Ask its author for a safetensors file, or convert it on a machine you can afford to lose."


def read_torch(path: str | os.PathLike) -> Any:
    """Read a torch checkpoint with the restricted loader; what it refuses is refused for good.

    Parameters
    ----------
    path : str or PathLike
        A file of ``torch.save``, in the zip format or the older one.

    Returns
    -------
    object
        Usually a dict of name to Tensor, on the CPU.

    Raises
    ------
    UnsafeContent
        The file asks for anything but tensors and plain values, or this torch is too old to read it safely.
    FormatError
        The file is damaged.

    Notes
    -----
    There is no fallback to an unrestricted load. A checkpoint that must run code goes through
    ``microtome.io.load_code(path, trust=Trust.CODE)``, one file at a time.
    """
    import pickle

    import torch

    size = regular_file(path).st_size
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < SAFE_SINCE:
        raise UnsafeContent(
            f"'{os.fspath(path)}' was not read: torch {torch.__version__} cannot read checkpoints safely. "
            "Install torch 2.10 or later, or use a safetensors file."
        )
    with opened(path) as file:
        _check_archive(path, file, size)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UnsafeContent(
                f"'{os.fspath(path)}' holds more than tensors and was refused: {_first_reason(error)}. {_WAY_OUT}"
            ) from None
        except (Exception, RecursionError) as error:  # the loader raises many types on damaged input
            raise _error(path, f"{type(error).__name__}: {str(error)[:160]}") from None


def _check_archive(path: str | os.PathLike, file: Any, size: int) -> None:
    """Refuse a zip that claims more than it holds (torch stores its members uncompressed)."""
    start = file.read(4)
    file.seek(0)
    if start != b"PK\x03\x04":
        return
    try:
        with zipfile.ZipFile(file) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
    except Exception as error:  # zipfile, too, raises many types on damaged input
        raise _error(path, str(error)[:160]) from None
    finally:
        file.seek(0)
    if claimed > size:
        raise _error(path, f"its members claim {claimed} bytes and the file has {size}")


def _first_reason(error: Exception) -> str:
    text = str(error)
    start = text.rfind("WeightsUnpickler error:")
    line = text[start + 23 :] if start >= 0 else text
    return " ".join(line.split())[:160]


def _error(path: str | os.PathLike, wrong: str) -> FormatError:
    return FormatError(f"'{os.fspath(path)}' is not a readable torch checkpoint: {wrong}. {_WAY_OUT}")
