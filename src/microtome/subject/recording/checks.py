"""The guard at the boundary: no NaN or infinity enters a recording."""

import torch
from torch import Tensor

from microtome.errors import NonFinite


def check_finite(site: str, values: Tensor, first_row: int = 0) -> None:
    """Raises unless every value is finite; one fused reduction when all is well.

    A sum is finite only if every term is, so the exact count is made only when the sum is not (which a sum of large
    finite values can also be).

    Parameters
    ----------
    site : str
        Name for the message.
    values : Tensor[rows, ...]
        Floating point values.
    first_row : int
        Row number of ``values[0]`` in the recording.

    Raises
    ------
    NonFinite
        With attributes `site`, `count` and `first` (row, then feature indices) of the first bad cell.

    Examples
    --------
    >>> check_finite("x", torch.tensor([[1.0], [float("nan")]]))
    Traceback (most recent call last):
    microtome.errors.NonFinite: 'x' has 1 value that is NaN or infinite of 2, the first (nan) at row 1, unit (0,). ...
    """
    if not values.numel() or not values.is_floating_point():
        return
    wide = torch.float64 if values.dtype == torch.float64 else torch.float32
    if torch.isfinite(values.sum(dtype=wide)):
        return
    bad = ~torch.isfinite(values)
    count = int(bad.sum())
    if not count:
        return
    row, *unit = bad.nonzero()[0].tolist()
    value = float(values[(row, *unit)])
    place = f"row {first_row + row}" + (f", unit {tuple(unit)}" if unit else "")
    hint = " The values may exceed float16: record as bfloat16 or float32." if values.dtype == torch.float16 else ""
    error = NonFinite(
        f"{site!r} has {count} value{'s' * (count > 1)} that {'are' if count > 1 else 'is'} NaN or infinite of "
        f"{values.numel()}, the first ({value}) at {place}. Find the layer where it arises, or drop "
        f"those samples.{hint}"
    )
    error.site, error.count, error.first = site, count, (first_row + row, *unit)
    raise error
