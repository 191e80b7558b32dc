"""``microtome decompose``: fit coordinates to a site."""

import inspect
from pathlib import Path
from typing import Annotated, Any

import typer

from microtome.cli import given, options
from microtome.cli.answer import Answer, Grid
from microtome.cli.command import command

ROWS = 20_000


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "decompose", examples=(
        "microtome decompose organism:vision-cnn --site relu4 --method pca --latents 8",
        "microtome decompose organism:language --site blocks.2.resid_post --latents 512 --set k=8 --out bases/middle",
        "microtome decompose organism:language --site blocks.2.resid_post --latents 512 --report dictionary.html",
    ))(decompose)  # fmt: skip


def decompose(
    subject: options.Subject,
    site: options.Site,
    method: Annotated[str, typer.Option("--method", "-m", help="See: microtome methods decompose")] = "topk_sae",
    latents: Annotated[int | None, typer.Option("--latents", min=1, help="Number of coordinates.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another option of the method; repeat for several.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to save the basis to.")] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="HTML file: training curves, a map, and a page for each of the main units.")
    ] = None,
    data: options.Data = None,
    positions: options.Positions = "auto",
    rows: options.Rows = ROWS,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:
    """Fit a dictionary or a factorisation to the values of one site, and say how much of them it explains.

    Open a saved one with mt.load_basis(folder).
    """
    chosen = given.method("decompose", method, "Basis")
    asked = given.settings(set_ or [])
    if latents is not None:
        takes = given.takes(chosen)
        asked["latents" if "latents" in takes else "components"] = latents
    if chosen.stochastic:
        asked.setdefault("seed", seed)
    asked = given.options(chosen, asked)
    studied = given.subject(subject, device)
    recording = given.recording(studied, [site], data, seed=seed, positions=positions, rows=rows)
    basis = chosen.function(recording, **asked)  # type: ignore[misc]
    if out is not None:
        basis.save(out)
    if report is not None:
        _report(report, basis, recording, studied, data, asked.get("batch", _default(chosen, "batch")), seed)
    about = {"method": chosen.key, "site": basis.site, "dim": basis.dim, "metrics": basis.metrics, "rows": len(recording),
             "fingerprint": basis.fingerprint, "options": asked}  # fmt: skip
    shown = [f"{chosen.key} at {basis.site}: {basis.dim} coordinates from {len(recording)} rows"]
    shown += [Grid(["figure", "value"], [[k, v] for k, v in basis.metrics.items()])]
    shown += [f"Saved to {out}"] if out is not None else []
    shown += [f"Report: {report}"] if report is not None else []
    files = {"folder": None if out is None else str(out), "report": None if report is None else str(report)}
    return Answer({"basis": about, **files}, shown)


def _default(chosen: Any, name: str) -> Any:
    """The default of an option of a method; None where it has no such option."""
    parameter = inspect.signature(chosen.function).parameters.get(name)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def _report(path: Path, basis: Any, recording: Any, studied: Any, data: Path | None, batch: Any, seed: int) -> None:
    from microtome import io
    from microtome.study.dictionary import dictionary_page

    stimuli = given.stimuli(studied, data, seed)
    page = dictionary_page(
        basis, recording, title=f"{basis.name} of {studied.name}", subject=studied, stimuli=stimuli,
        batch=batch if isinstance(batch, int) else None, seed=seed,
    )  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_text(path, page)
