"""``microtome decompose compare`` and ``microtome decompose convert``: bases beside each other, and between layouts."""

from pathlib import Path
from typing import Annotated, Any

import typer

from microtome.cli import given, options
from microtome.cli.answer import Answer, Grid, frame_grid
from microtome.cli.command import command

ROWS = 20_000


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "decompose compare", examples=(
        "microtome decompose compare organism:vision-cnn --site relu4 --method pca --method nmf --latents 8",
        "microtome decompose compare organism:language --site blocks.2.resid_post --latents 256 --set k=8 --loss --twin",
        "microtome decompose compare organism:language --site blocks.2.resid_post --basis bases/middle --json",
    ))(compare)  # fmt: skip
    command(app, "decompose convert", examples=(
        "microtome decompose convert bases/middle sae --to saelens",
        "microtome decompose convert sae bases/back --subject organism:language",
        "microtome decompose convert params.npz bases/gemma --site blocks.12.resid_post",
    ))(convert)  # fmt: skip


def compare(
    subject: options.Subject,
    site: options.Site,
    method: Annotated[
        list[str] | None, typer.Option("--method", "-m", help="A method to fit; repeat. Default: topk_sae and pca.")
    ] = None,
    basis: Annotated[
        list[Path] | None, typer.Option("--basis", "-b", help="A saved basis, or a dictionary in any layout; repeat.")
    ] = None,
    latents: Annotated[int | None, typer.Option("--latents", min=1, help="Number of coordinates of those fitted here.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Another option, for the methods that have it.")
    ] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="A property of the data to probe for; repeat.")] = None,
    loss: Annotated[bool, typer.Option("--loss", help="What each costs the network's loss (language models).")] = False,
    twin: Annotated[bool, typer.Option("--twin", help="Fit the same on the network with re-drawn weights.")] = False,
    data: options.Data = None,
    positions: options.Positions = "auto",
    rows: options.Rows = ROWS,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:
    """Score several bases of one site on the same rows, each with its nulls in the rows below it.

    Methods are fitted here on two seeds, which gives their stability; --basis takes fitted ones.
    """
    from microtome.decompose import compare as compared
    from microtome.decompose.formats.convert import load_any
    from microtome.errors import UsageError

    chosen = method if method or basis else ["topk_sae", "pca"]
    fits = _fits(chosen or [], latents, set_ or [])
    studied = given.subject(subject, device)
    if twin and data is None and studied.organism is None:
        raise UsageError("--twin needs --data: without it each network would write a text of its own.")
    recording = given.recording(studied, [site], data, seed=seed, positions=positions, rows=rows)
    other = studied.twin(seed=seed) if twin else None
    redrawn = given.recording(other, [site], data, seed=seed, positions=positions, rows=rows) if other is not None else None
    bases: dict[str, Any] = fits | {str(path): load_any(path) for path in basis or []}
    found = compared(
        recording, bases, subject=studied if loss else None, inputs=given.stimuli(studied, data, seed) if loss else None,
        labels=label, twin=redrawn, seeds=(seed, seed + 1), seed=seed,
    )  # fmt: skip
    table = found.table().round(4)
    table = table.astype(object).where(table.notna(), "")
    title = f"{len(bases)} bases of {recording.site} on {len(recording)} rows"
    answer = {"site": recording.site, "rows": len(recording), "table": found.records()}
    return Answer(answer, [frame_grid(table, list(table.columns), title, most=len(table))])


def _fits(keys: list[str], latents: int | None, pairs: list[str]) -> dict[str, Any]:
    """A callable ``fit(recording, seed)`` for each method, with the options that it has."""
    from microtome.errors import UsageError

    methods = [given.method("decompose", key, "Basis") for key in keys]
    asked = given.settings(pairs)
    for name in asked:
        if not any(name in given.takes(m) for m in methods):
            raise UsageError(f"none of {', '.join(keys) or 'the bases'} takes an option '{name}'.")
    out = {}
    for m in methods:
        if m.needs != ("recording",):
            raise UsageError(f"'{m.key}' needs {', '.join(m.needs)}, not a recording alone; fit it in Python and give --basis.")
        own = {k: v for k, v in asked.items() if k in given.takes(m)}
        if latents is not None:
            own["latents" if "latents" in given.takes(m) else "components"] = latents
        out[m.key] = _fit(m, given.options(m, own))
    return out


def _fit(found: Any, own: dict[str, Any]) -> Any:
    return lambda recording, seed: found.function(recording, **own, **({"seed": seed} if found.stochastic else {}))


def convert(
    source: Annotated[Path, typer.Argument(help="Folder or file that holds the dictionary.")],
    out: Annotated[Path, typer.Argument(help="Where it is written.")],
    read: Annotated[str | None, typer.Option("--from", help="Layout of the source. Default: by its files.")] = None,
    to: Annotated[str, typer.Option("--to", help="microtome, saelens, dictionary_learning, sparsify, gemma_scope, openai, "
                                    "circuit_tracer.")] = "microtome",
    site: Annotated[str | None, typer.Option("--site", "-s", help="Site, where the files do not say it.")] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Check the dictionary on this network: " + options.SUBJECT)
    ] = None,
    data: options.Data = None,
    rows: options.Rows = 4096,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:  # fmt: skip
    """Read a dictionary in one layout and write it in another; with --subject, check first that it fits the network."""
    from microtome.decompose.formats.convert import guess, load_any, save_as
    from microtome.errors import UsageError

    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise UsageError(f"'{out}' is there already; choose a new place.")
    known = guess(source) if read is None else read
    dictionary = load_any(source, read=known, site=site)
    if subject is not None:
        sites = [*getattr(dictionary, "reads", ()), *_written(dictionary)] or [dictionary.site]
        recording = given.recording(given.subject(subject, device), list(dict.fromkeys(sites)), data, seed=seed, rows=rows)
        dictionary = load_any(source, read=known, site=site, recording=recording)
    save_as(dictionary, out, to)
    about = {"from": known, "to": to, "site": dictionary.site, "dim": dictionary.dim, "metrics": dictionary.metrics,
             "checked": subject is not None, "fingerprint": dictionary.fingerprint}  # fmt: skip
    shown: list[Any] = [f"{known} -> {to}: {dictionary.dim} coordinates of {dictionary.site}, saved to {out}"]
    if subject is not None:
        shown.append(Grid(["figure", "value"], [[k, v] for k, v in dictionary.metrics.items()]))
    return Answer({"dictionary": about, "out": str(out)}, shown)


def _written(dictionary: Any) -> tuple[str, ...]:
    found = getattr(dictionary, "writes", ())
    return (found,) if isinstance(found, str) else tuple(found)
