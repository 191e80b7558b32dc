"""The sections of the report of one dictionary."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.decompose.compare import matched
from microtome.decompose.judge import reconstruction
from microtome.decompose.latents import Latents, latents, neighbours
from microtome.decompose.plane import plane
from microtome.errors import UsageError
from microtome.evidence import Estimate, Finding, Null, Provenance
from microtome.rng import derive
from microtome.study.blocks import Bars, Block, Columns, Lines, Points, Section, Table
from microtome.study.context import some_rows
from microtome.study.dictionary.cards import cards

#: Random dictionaries of the null, the rows they are judged on, and the latents that a map shows at most.
DRAWS, ROWS, MAPPED = 19, 2000, 2000
#: Shares of rows that part the latents into groups.
RATES = (("never active", 0.0), ("below 0.1% of rows", 1e-3), ("0.1% to 1%", 1e-2), ("1% to 10%", 0.1), ("above 10%", 1.0))


def dictionary_sections(
    basis: Any, recording: Any, *, subject: Any = None, stimuli: Any = None, units: int | Sequence[int] = 24,
    batch: int | None = None, layout: str = "auto", seed: int = 0,
) -> list[Section]:  # fmt: skip
    """Training, use, map and units of a dictionary, as sections of a report.

    Parameters
    ----------
    basis : Basis
        Of one site; with directions.
    recording : Recording
        Values of that site.
    subject : Subject, optional
        Gives the texts of tokens, and what a direction does to the logits where it writes the residual stream.
    stimuli : Stimuli, optional
        What was shown, for pages of images.
    units : int or sequence of int
        How many units get a page (those that write most), or which. Default 24.
    batch : int, optional
        Rows per update of the training, so that its curves run over rows instead of updates.
    layout : {"auto", "umap", "tsne", "pca"}
        Of the map; see `decompose.plane`. Default "auto".
    seed : int
        Of the map and of the null. Default 0.

    Returns
    -------
    list of Section
        For `study.report.render`.

    Raises
    ------
    UsageError
        When the recording has several sites, or a unit is not there.
    """
    if len(recording.sites) != 1:
        raise UsageError(f"a dictionary is shown on one site, the recording has {recording.sites}; choose recording[site].")
    found = latents(recording, basis, bins=24)
    if isinstance(units, int):
        chosen = [int(i) for i in found.energy.argsort(descending=True)[:units] if found.rate[i] > 0]
    else:
        chosen = [int(i) for i in units]
        if wrong := [i for i in chosen if not 0 <= i < basis.dim]:
            raise UsageError(f"units lie in 0..{basis.dim - 1}, got {wrong}.")
    history = getattr(basis, "history", {}) or {}
    sections = [_use(basis, recording, found, seed)]
    if len(next(iter(history.values()), [])) > 1:
        sections.append(_training(history, batch))
    if basis.directions is not None and basis.dim > 2:
        sections.append(directions_map(basis, found, layout, seed))
    sections.append(cards(basis, recording, found, chosen, subject=subject, stimuli=stimuli, seed=seed))
    return sections


def dictionary_page(
    basis: Any, recording: Any, *, subject: Any = None, stimuli: Any = None, units: int | Sequence[int] = 24,
    batch: int | None = None, layout: str = "auto", seed: int = 0, title: str = "",
) -> str:  # fmt: skip
    """The report of a dictionary as one self-contained HTML page; arguments are those of `dictionary_sections`.

    Examples
    --------
    >>> import torch
    >>> from microtome.decompose import pca
    >>> from microtome.subject.recording import Recording
    >>> x = Recording.of(torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), site="h")
    >>> page = dictionary_page(pca(x, components=3), x, title="Four units", layout="pca")
    >>> page.startswith("<!doctype html>"), "Four units" in page, "<script" in page
    (True, True, False)
    """
    from microtome.evidence import library_versions
    from microtome.study.report import render

    sections = dictionary_sections(
        basis, recording, subject=subject, stimuli=stimuli, units=units, batch=batch, layout=layout, seed=seed
    )
    facts = {"site": str(basis.site), "coordinates": str(basis.dim), "rows": str(len(recording)),
             "basis": str(basis.fingerprint), "seed": str(seed)}  # fmt: skip
    facts |= {} if subject is None else {"subject": f"{subject.name} ({subject.fingerprint()[:16]})"}
    facts |= {f"version of {k}": v for k, v in library_versions().items()}
    return render(title or f"{basis.name} at {basis.site}", f"{basis.dim} coordinates, {len(recording)} rows", sections, facts)


def _use(basis: Any, recording: Any, found: Latents, seed: int) -> Section:
    """What it explains against random directions, and how often its latents are active."""
    rate = found.rate.numpy()
    part = some_rows(recording, ROWS, seed)
    figures = reconstruction(part, basis)
    blocks: list[Block] = []
    findings, beside = [], ""
    if getattr(basis, "square", True):
        drawn = [reconstruction(part, matched(part, basis, derive(seed, "page", i) % 2**31))["fvu"] for i in range(DRAWS)]
        findings.append(Finding(
            "The dictionary explains more of the site than random directions do.",
            Estimate(1 - figures["fvu"], n=len(part), unit="share of variance", method="sums over all rows"),
            (Null("random directions, as many active", [1 - v for v in drawn], 1 - figures["fvu"]),),
            provenance=Provenance(subject=getattr(basis, "subject", ""), data=str(basis.site), seed=seed),
        ))  # fmt: skip
        blocks.append(
            Bars("Variance explained", [basis.name, "best of random directions"], [1 - figures["fvu"], 1 - min(drawn)])
        )
        beside = f" (random directions at most {1 - min(drawn):.0%})"
    alive = rate > 0
    if alive.any() and rate[alive].min() < 1:
        least = float(np.floor(np.log10(rate[alive].min())))
        counts, edges = np.histogram(np.log10(rate[alive]), bins=int(max(8, -least * 6)), range=(least, 0.0))
        silent = int((~alive).sum())
        blocks.append(Columns(
            "How often latents are active", edges.tolist(), counts.tolist(), "share of rows, in powers of ten",
            f"{int(alive.sum())} latents; {silent} more are never active on these rows.",
        ))  # fmt: skip
    directions = basis.directions
    table = found.table(directions).sort_values("energy", ascending=False)
    names = {"latent": "latent", "rate": "share of rows", "mean": "mean when active", "largest": "largest",
             "energy": "energy", "neighbour": "nearest latent", "cosine": "cosine"}  # fmt: skip
    rows = [list(row) for row in table.itertuples(index=False, name=None)]
    blocks.append(Table("Latents, those that write most first", [names[c] for c in table.columns], rows,
                        "Energy: mean squared code times the squared length of the direction."))  # fmt: skip
    lead = (f"{basis.dim} coordinates, {figures['l0']:.1f} active per row, explain {1 - figures['fvu']:.0%} of the variance of "
            f"{basis.site}{beside}; {int((~alive).sum())} are never active.")  # fmt: skip
    return Section("use", "What it explains, and how it is used", lead, findings, blocks)


def _training(history: dict[str, list], batch: int | None) -> Section:
    """The curves that the trainer kept."""
    axis = next((name for name in ("step", "component", "coordinate") if name in history), None)
    count = len(next(iter(history.values())))
    places = list(range(count)) if axis is None else history[axis]
    over = axis == "step" and batch is not None
    x = [f"{int(p) * batch:,}" if over else str(p) for p in places]  # type: ignore[operator]
    titles = {"fvu": "Variance left unexplained (FVU)", "l0": "Active latents per row (L0)", "dead": "Share of dead latents",
              "loss": "Loss", "explained": "Share of variance", "importance": "Importance"}  # fmt: skip
    shown = [name for name in (*titles, *history) if name in history and name != axis]
    blocks: list[Block] = [
        Lines(titles.get(name, name), x, {name: [float(v) for v in history[name]]}, x_name="rows" if over else axis or "point")
        for name in dict.fromkeys(shown)
        if all(isinstance(v, (int, float)) for v in history[name])
    ]
    last = ", ".join(f"{name} {float(history[name][-1]):.3g}" for name in ("fvu", "l0", "dead") if name in history)
    lead = f"{count} points were kept{': at the last, ' + last if last else ''}."
    return Section("training", "Training" if axis in ("step", None) else "Spectrum", lead, [], blocks)


def directions_map(basis: Any, found: Latents, layout: str, seed: int) -> Section:
    """Directions in the plane, coloured by how often they are active."""
    shown = np.sort(found.energy.argsort(descending=True)[:MAPPED].numpy())
    directions = basis.directions.detach().cpu()[shown]
    where = plane(directions, layout=layout, seed=seed)
    names = basis.names or [f"latent {i}" for i in range(basis.dim)]
    groups = [next(name for name, most in RATES if rate <= most) for rate in found.rate[shown].tolist()]
    order = {name: i for i, (name, _) in enumerate(RATES)}
    rows = sorted(range(len(shown)), key=lambda i: order[groups[i]])
    near = neighbours(directions, 1)[0][:, 0]
    alike = float((near > 0.9).double().mean())
    block = Points(
        "Directions by their cosines", [float(where[i, 0]) for i in rows], [float(where[i, 1]) for i in rows],
        [str(names[int(shown[i])]) for i in rows], [groups[i] for i in rows],
        "Neighbours are alike; sizes of clusters and distances between them say little. Point at a dot for its latent."
        + (f" The {len(shown)} latents that write most, of {basis.dim}." if len(shown) < basis.dim else ""),
    )  # fmt: skip
    lead = f"{alike:.0%} of the latents have another one with a cosine above 0.9; the median of nearest is {near.median():.2f}."
    return Section("map", "A map of the directions", lead, [], [block])
