"""``microtome decompose``: fit coordinates to a site."""

from pathlib import Path
from typing import Annotated

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
    recording = given.recording(given.subject(subject, device), [site], data, seed=seed, positions=positions, rows=rows)
    basis = chosen.function(recording, **asked)  # type: ignore[misc]
    if out is not None:
        basis.save(out)
    about = {"method": chosen.key, "site": basis.site, "dim": basis.dim, "metrics": basis.metrics, "rows": len(recording),
             "fingerprint": basis.fingerprint, "options": asked}  # fmt: skip
    shown = [f"{chosen.key} at {basis.site}: {basis.dim} coordinates from {len(recording)} rows"]
    shown += [Grid(["figure", "value"], [[k, v] for k, v in basis.metrics.items()])]
    shown += [f"Saved to {out}"] if out is not None else []
    return Answer({"basis": about, "folder": None if out is None else str(out)}, shown)
