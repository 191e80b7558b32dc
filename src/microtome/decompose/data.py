"""What a decomposition asks of a recording before it starts: one site, finite numbers, enough rows, some variance."""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.errors import Degenerate, NonFinite, UsageError


class FewRows(UserWarning):
    """There are fewer samples than coordinates to fit: many will stay unused or fit noise."""


@dataclass(frozen=True)
class Survey:
    """First and second moments of a recording of one site, from one streamed pass in float64.

    Attributes
    ----------
    site, subject : str
        Where the rows come from; `subject` is a fingerprint or empty.
    rows, width : int
        Number of samples and of units.
    mean, variance : Tensor[width]
        Per unit, population variance.
    minimum : float
        Smallest value.
    """

    site: str
    subject: str
    rows: int
    width: int
    mean: Tensor
    variance: Tensor
    minimum: float

    @property
    def scale(self) -> float:
        """s such that the units of ``s * x`` have variance 1 on average (E||s (x - mean)||^2 = width)."""
        return float((self.width / self.variance.sum()).sqrt())


def one_site(recording: Any) -> tuple[str, str]:
    """Name of the only site and fingerprint of the subject of a recording."""
    sites = [str(s) for s in recording.sites]
    if len(sites) != 1:
        raise UsageError(f"one site is needed, the recording holds {sites}; choose one with recording[site].")
    return sites[0], str(recording.provenance.get("subject", "") or "")


def survey(recording: Any, *, batch: int = 8192) -> Survey:
    """Stream once over a recording of one site and collect its moments.

    Raises
    ------
    NonFinite
        When a value is NaN or infinite; says how many and in which units.
    Degenerate
        When there are fewer than two rows, or all rows are equal.
    """
    site, subject = one_site(recording)
    rows, lowest = 0, float("inf")
    shift = total = squares = torch.zeros(0, dtype=torch.float64)
    for block in recording.batches(batch, None):
        x = block.double()
        if not torch.isfinite(x).all():
            bad = ~torch.isfinite(x)
            units = bad.any(0).nonzero().flatten().tolist()
            raise NonFinite(
                f"'{site}' holds {int(bad.sum())} NaN or infinite values near row {rows}, in units {units[:5]}; "
                "drop those rows with recording.select(rows)."
            )
        if rows == 0:
            # Moments about the first row: no cancellation when the mean is far from 0.
            shift, total, squares = x[0].clone(), torch.zeros_like(x[0]), torch.zeros_like(x[0])
        centred = x - shift
        total, squares = total + centred.sum(0), squares + centred.square().sum(0)
        rows, lowest = rows + len(x), min(lowest, float(x.min()))
    if rows < 2:
        raise Degenerate(f"'{site}' has {rows} rows; at least 2 are needed. Record more samples.")
    offset = total / rows
    variance = (squares / rows - offset.square()).clamp_min(0.0)
    mean = shift + offset
    if not bool((variance > 1e-14 * (mean.square() + variance).clamp_min(1e-300)).any()):
        raise Degenerate(f"all {rows} rows of '{site}' are equal: there is nothing to decompose.")
    return Survey(site, subject, rows, len(mean), mean, variance, lowest)


def require_rows(found: Survey, coordinates: int) -> None:
    """Warn (`FewRows`) when there are fewer samples than coordinates."""
    if found.rows < coordinates:
        warnings.warn(
            f"{found.rows} rows of '{found.site}' for {coordinates} coordinates: record more samples or ask for fewer.",
            FewRows,
            stacklevel=3,
        )


def require_count(value: int, most: int, what: str) -> int:
    """`value` if it is a whole number in 1..most."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise UsageError(f"{what} must be a whole number in 1..{most}, got {value!r}.")
    return value


def precision_of(recording: Any) -> Tensor:
    """A tensor with the recording's device and the precision to compute in: its own, at least float32."""
    row = next(iter(recording.batches(1, None)))
    return row if row.dtype == torch.float64 else row.float()
