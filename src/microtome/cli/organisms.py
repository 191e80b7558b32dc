"""``microtome organisms``: small networks with known insides."""

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from microtome.cli import given
from microtome.cli.answer import Answer, Grid
from microtome.cli.command import command, keeps
from microtome.cli.streams import log


def complete(incomplete: str) -> list[str]:
    """Names of organisms, for the completion of the shell."""
    from microtome.organisms.registry import names

    return [name for name in names() if name.startswith(incomplete)]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "organisms", examples=(
        "microtome organisms",
        "microtome organisms compiled-ioi",
        "microtome organisms rnn-parity --make --out remade",
    ))(organisms)  # fmt: skip


def organisms(
    name: Annotated[str | None, typer.Argument(help="One organism.", autocompletion=complete)] = None,
    make: Annotated[bool, typer.Option("--make", help="Train it again and write its weights.")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="With --make: folder; default the package's own.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="With --make. The shipped weights are seed 0.")] = 0,
) -> Answer:
    """List the organisms with the figures they reached, show one with its sites and its truth, or remake one."""
    from microtome.errors import UsageError

    if make and name is None:
        raise UsageError("--make remakes one organism; name it. All of them: make organisms")
    if not make and (out is not None or seed):
        raise UsageError("--out and --seed go with --make.")
    if make:
        return _made(str(name), out, seed)
    return _listed() if name is None else _one(name)


def _listed() -> Answer:
    from microtome.organisms import registry, shelf

    found: list[dict[str, Any]] = []
    for name in registry.names():
        kind = "compiled" if name in registry.COMPILED else "trained"
        there = kind == "compiled" or (shelf.folder(name) / shelf.WEIGHTS).is_file()
        found.append({"name": name, "kind": kind, "weights": there, "figures": shelf.figures(name)})
    rows = [[f"organism:{f['name']}", f["kind"] if f["weights"] else "weights missing", _figures(f["figures"])] for f in found]
    return Answer({"organisms": found}, [Grid(["organism", "kind", "figures"], rows)])


def _one(name: str) -> Answer:
    subject = given.subject(f"organism:{name}")
    organism = subject.organism
    known = fields(organism.truth) if is_dataclass(organism.truth) else ()
    truth = {f.name: _brief(getattr(organism.truth, f.name)) for f in known}
    data = {"name": name, "figures": organism.figures, "truth": truth, "sites": [s.name for s in subject.sites()]}
    shown = [repr(subject), f"figures: {_figures(organism.figures) or 'none: written by construction'}"]
    groups = {k: d for k, d in organism.figures.items() if isinstance(d, dict)}
    nested = [[f"{k}: {n}", _figures(v) if isinstance(v, dict) else v] for k, d in groups.items() for n, v in d.items()]
    grids = [Grid(["figure", "value"], nested)] if nested else []
    return Answer({"organism": data}, [*shown, *grids, Grid(["truth", "value"], list(map(list, truth.items())))])


def _made(name: str, out: Path | None, seed: int) -> Answer:
    from microtome.organisms import shelf
    from microtome.organisms.train import remake

    log.info("training %s", name)
    with keeps("nothing of the interrupted training is kept; the weights before it are untouched."):
        figures = remake(name, out, seed=seed)
    folder = shelf.folder(name) if out is None else out
    return Answer({"organism": {"name": name, "figures": figures, "folder": str(folder)}}, [f"{name}: {_figures(figures)}"])


def _figures(figures: dict[str, Any]) -> str:
    return ", ".join(f"{len(v)} {k}" if isinstance(v, dict) else f"{k} {_brief(v)}" for k, v in figures.items())


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    shape = getattr(value, "shape", None)
    text = f"tensor {list(shape)}" if shape is not None else repr(value)
    return text if len(text) <= 300 else text[:297] + "..."
