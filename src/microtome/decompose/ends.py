"""The two ends of a dictionary: what is read and what is rebuilt. For an autoencoder they are the same."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.data import Survey, survey
from microtome.errors import Degenerate, UsageError
from microtome.subject.recording.join import joined

#: Rows from which the linear prediction of one end from the other is estimated.
LINK_ROWS = 16_384
Sites = str | Sequence[str] | None


@dataclass(frozen=True)
class Ends:
    """Moments of both ends and how many units each of their sites has.

    During training each site is scaled by itself, so that ``E ||x - mean||^2`` is its width; `fold` takes the scales back
    into the weights.

    Attributes
    ----------
    source, target : Survey
        Of what is read and of what is rebuilt (sites side by side); the same object for an autoencoder.
    reads, writes : tuple of str
    widths_in, widths_out : tuple of int
    link : Tensor[d_in, d_out], optional
        Linear prediction of the (scaled, centred) target from the source, where they differ: a start for encoders.
    """

    source: Survey
    target: Survey
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    widths_in: tuple[int, ...]
    widths_out: tuple[int, ...]
    link: Tensor | None = None

    @property
    def auto(self) -> bool:
        """Whether what is read is what is rebuilt."""
        return self.source is self.target

    @property
    def scale_in(self) -> Tensor:
        """Factor of each unit that is read, Tensor[d_in] in float64."""
        return _scales(self.source, self.widths_in, self.reads)

    @property
    def scale_out(self) -> Tensor:
        """Factor of each unit that is rebuilt."""
        return _scales(self.target, self.widths_out, self.writes)

    def fold(self, parts: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a dictionary for x and y from those of one for the scaled ones.

        Every gate of this room is positively homogeneous, so codes may have any scale c. With c the scale of the written
        site, directions keep their norms: ``z(x) = z'(s x) / c`` (the geometric mean where several sites are written).
        """
        s, t = self.scale_in, self.scale_out
        c = self.code_scale
        out = parts | {key: parts[key] / c for key in ("b_enc", "threshold") if parts.get(key) is not None}
        out["b_dec"] = parts["b_dec"] / t.to(parts["b_dec"])
        if not self.auto or len(self.widths_in) > 1:
            out["W_enc"] = parts["W_enc"] * (s / c).to(parts["W_enc"])[:, None]
            out["W_dec"] = parts["W_dec"] * (c / t).to(parts["W_dec"])
        if parts.get("W_skip") is not None:
            out["W_skip"] = parts["W_skip"] * (s[:, None] / t).to(parts["W_skip"])
        return out

    def uncentre(self, parts: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a dictionary for x and y (already folded) from those of one for x and y less their means."""
        x, y = self.source.mean.to(parts["W_enc"]), self.target.mean.to(parts["b_dec"])
        out = parts | {"b_enc": parts["b_enc"] - x @ parts["W_enc"], "b_dec": parts["b_dec"] + y}
        if parts.get("W_skip") is not None:
            out["b_dec"] = out["b_dec"] - x @ parts["W_skip"]
        return out

    @property
    def code_scale(self) -> float:
        """Scale of the codes of the scaled problem: that of the written site, the geometric mean over several."""
        t = self.scale_out
        first = torch.tensor([0, *self.widths_out[:-1]]).cumsum(0)
        return float(t[0]) if len(self.widths_out) == 1 else float(t[first].log().mean().exp())


def _scales(found: Survey, widths: Sequence[int], sites: Sequence[str]) -> Tensor:
    out = []
    for site, variance in zip(sites, found.variance.split(list(widths))):
        total = float(variance.sum())
        if not total > 0:
            raise Degenerate(f"all rows of '{site}' are equal: there is nothing to rebuild from it.")
        out.append(torch.full((len(variance),), (len(variance) / total) ** 0.5, dtype=torch.float64))
    return torch.cat(out)


def linked(ends: Ends, x: Tensor, y: Tensor) -> Ends:
    """The ends with the linear prediction of y from x, by least squares with a ridge of a hundredth of the variance."""
    x = (x.double() - ends.source.mean.to(x.device)) * ends.scale_in.to(x.device)
    y = (y.double() - ends.target.mean.to(x.device)) * ends.scale_out.to(x.device)
    ridge = 0.01 * len(x) * torch.eye(x.shape[1], dtype=torch.float64, device=x.device)
    return replace(ends, link=torch.linalg.solve(x.T @ x + ridge, x.T @ y))


class Feed:
    """Rows of both ends from a recording, in one order.

    Parameters
    ----------
    recording : Recording
        Holds the sites; in memory or on disk.
    reads, writes : str or sequence of str, optional
        Default: the one site of the recording, read and rebuilt. With `reads` alone, the sites read are rebuilt.
    """

    def __init__(self, recording: Any, reads: Sites = None, writes: Sites = None) -> None:
        r = _names(recording, reads)
        w = r if writes is None else _names(recording, writes)
        self.x = recording if reads is None else joined(recording, r)
        self.y = self.x if w == r else joined(recording, w)
        source = survey(self.x)
        widths = tuple(_width(recording, r, site) for site in r), tuple(_width(recording, w, site) for site in w)
        self.ends = Ends(source, source if self.y is self.x else survey(self.y), r, w, *widths)
        if not self.ends.auto:
            x, y = next(iter(self.batches(LINK_ROWS, 0)))
            self.ends = linked(self.ends, x, y)

    def batches(self, size: int, seed: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs of rows; a seed shuffles both ends alike."""
        if self.ends.auto:
            return ((x, x) for x in self.x.batches(size, seed))
        return zip(self.x.batches(size, seed), self.y.batches(size, seed))


def two_ends(recording: Any, reads: str | None, writes: str | None) -> tuple[str, str]:
    """The site read and the site written; by default the first and the second of a recording of two."""
    sites = [str(s) for s in recording.sites]
    if reads is None and writes is None and len(sites) == 2:
        return sites[0], sites[1]
    if reads is None or writes is None or reads == writes:
        raise UsageError(
            f"a transcoder needs two sites recorded together, the recording holds {sites}; say reads= and writes=."
        )
    return reads, writes


def _names(recording: Any, sites: Sites) -> tuple[str, ...]:
    if sites is None:
        found = tuple(str(s) for s in recording.sites)
        if len(found) != 1:
            raise UsageError(f"one site is needed, the recording holds {list(found)}; choose one with recording[site].")
        return found
    names = (sites,) if isinstance(sites, str) else tuple(sites)
    if not names or len(set(names)) != len(names):
        raise UsageError(f"sites must be named once each, got {list(names)}.")
    return names


def _width(recording: Any, among: Sequence[str], site: str) -> int:
    part = recording if len(among) == 1 and len(recording.sites) == 1 else recording[site]
    return prod(part.shape[1:])
