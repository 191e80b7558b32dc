"""Gradients at random points of the lines from random baselines: what expected gradients and GradientSHAP average."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.ends import Ends, counted, ends
from microtome.attribute.imputers import Others
from microtome.attribute.paths import CHUNK_BYTES, path_sums
from microtome.attribute.place import Baseline
from microtome.errors import ShapeError, UsageError
from microtome.rng import rng, torch_rng


def expected_map(
    subject: Any, task: Any, method: str, *, at: str | None, baseline: Baseline | Others | None, noise: float, samples: int,
    metric: str | None, seed: int,
) -> Attribution:  # fmt: skip
    """``mean over draws of (x~ - x') dm/dx (x' + a (x~ - x'))``: x' a random baseline, a a random point, x~ x with noise.

    `noise` is the standard deviation in ranges of the example. One draw of x', a and noise serves every example; the points
    are stratified, one in each of `samples` equal parts of the line.
    """
    counted("samples", samples)
    if not noise >= 0:
        raise UsageError(f"noise must be at least 0, got {noise!r}.")
    many = baseline is None or isinstance(baseline, Others)
    e = ends(subject, task, at=at, baseline="zero" if many else baseline, metric=metric)  # pyright: ignore[reportArgumentType]
    rows = e.start[None] if not many else _rows(e, baseline)
    draw, g = rng(seed, "expected gradients"), torch_rng(seed, "expected gradients", "noise")
    chosen = draw.integers(len(rows), size=samples)
    at_line = (draw.permutation(samples) + draw.random(samples)) / samples
    flat = e.end.flatten(1)
    spread = noise * (flat.amax(1) - flat.amin(1)).reshape(-1, *[1] * (e.end.ndim - 1))

    def points() -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        for row, a in zip(chosen, at_line):
            start, end = rows[int(row)], e.end
            if noise > 0:
                end = end + spread * torch.randn(end.shape[1:], generator=g, dtype=torch.float64).to(end)
            yield {e.site: start + float(a) * (end - start)}, (end - start) / samples

    total, count = path_sums(subject, e.bound, points(), [e.site])
    return e.attribution(
        total[e.site], method, 2 * count + 1 + len(set(chosen.tolist())), reference=_reference(e, rows, chosen, many),
        settings={"baseline": "examples" if many else str(e.baseline) if isinstance(e.baseline, str) else "given",
                  "noise": noise, "samples": samples, "seed": seed},
    )  # fmt: skip


def _rows(e: Ends, baseline: Any) -> Tensor:
    """Baselines [m, 1 or n, ...]: other examples, each of which serves all."""
    rows = e.end if baseline is None else baseline.rows.to(e.end)
    if rows.shape[1:] != e.end.shape[1:]:
        raise ShapeError(f"other examples {list(rows.shape)} do not fit {e.site} {list(e.end.shape)}.")
    return rows[:, None].expand(len(rows), *e.end.shape)


def _reference(e: Ends, rows: Tensor, chosen: Any, many: bool) -> Tensor:
    """The mean metric over the baselines that were drawn."""
    if not many:
        return e.reference
    kinds, times = torch.as_tensor(chosen).unique(return_counts=True)
    room = max(1, CHUNK_BYTES // max(1, e.end.numel() * e.end.element_size()))
    worth = torch.cat([e.measure(rows[part]) for part in kinds.split(room)])
    return (times.double() @ worth / times.sum()).to(e.output)
