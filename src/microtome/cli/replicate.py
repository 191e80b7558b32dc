"""``microtome replicate``: papers' claims, checked, into the ledger."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from microtome.cli.answer import Answer, Grid
from microtome.cli.command import command, keeps
from microtome.cli.streams import log

if TYPE_CHECKING:
    from microtome.ledger import Ledger


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "replicate", examples=(
        "microtome replicate",
        "microtome replicate toy_superposition",
        "microtome replicate --all --stale",
    ))(replicate)  # fmt: skip


def replicate(
    keys: Annotated[list[str] | None, typer.Argument(metavar="KEY...", help="Names of replications.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Run all.")] = False,
    stale: Annotated[bool, typer.Option("--stale", help="With --all: only those whose code has changed since.")] = False,
    seed: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="Other seeds than the file's; the ledger is then left alone.")
    ] = None,
) -> Answer:
    """Run replications on their seeds against their nulls and write them to the ledger; exit code 1 when a claim fails.

    Runs from a source checkout. Without KEY and --all it lists what there is.
    """
    from microtome import replicate as room
    from microtome.errors import UsageError
    from microtome.ledger import Ledger

    if keys and all_:
        raise UsageError("name replications or give --all, not both.")
    if stale and not all_:
        raise UsageError("--stale goes with --all.")
    ledger = Ledger.read()
    if not keys and not all_:
        return _listed(ledger)
    wanted = list(dict.fromkeys(keys or (ledger.all_stale() if stale else room.keys())))
    for key in wanted:  # a misspelt one is named before the first runs
        room.load(key)
    rows = []
    for key in wanted:
        log.info("replicating %s (%d of %d)", key, len(rows) + 1, len(wanted))
        done = ", ".join(r.key for r in rows) or "nothing"
        with keeps(f"the ledger holds what was finished ({done}); go on with: microtome replicate --all --stale"):
            row = room.replicate(key, seed or None)
        rows.append(row)
        if not seed:
            ledger.put(row)
            ledger.write()
    failed = [r.key for r in rows if not r.holds]
    lines = [str(r) for r in rows] + [f"{len(rows) - len(failed)} of {len(rows)} hold."]
    data = {"rows": {r.key: r.to_json() for r in rows}, "failed": failed, "ledger": not seed}
    return Answer(data, lines, int(bool(failed)))


def _listed(ledger: "Ledger") -> Answer:
    from microtome.replicate import keys

    found: list[dict[str, Any]] = [
        {"key": key, "status": ledger.status(key), "stale": ledger.stale(key)} for key in keys(ledger.folder)
    ]
    rows = [[f["key"], f["status"], ", ".join(f["stale"]) or "nothing"] for f in found]
    return Answer({"replications": found}, [Grid(["replication", "status", "changed since"], rows)])
