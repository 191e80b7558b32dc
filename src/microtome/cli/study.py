"""``microtome study``: the main job, and ``microtome study verify``."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from microtome.cli import given, options
from microtome.cli.answer import Answer, findings_grid, findings_json
from microtome.cli.command import command, keeps
from microtome.cli.streams import log

#: Parameters below which a network is run on one thread unless OMP_NUM_THREADS says otherwise.
SMALL = 10_000_000


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "study", examples=(
        "microtome study",
        "microtome study organism:vision-cnn --out vision",
        "microtome study ./my-model --data texts.jsonl --json > findings.json",
        "microtome study organism:language --randomise reinit",
        "microtome study verify microtome-study",
    ))(study)  # fmt: skip
    command(app, "study verify", examples=("microtome study verify microtome-study",))(verify)


def complete(incomplete: str) -> list[str]:
    """Organisms and the second word, for the completion of the shell."""
    return [word for word in ("verify",) if word.startswith(incomplete)] + options.complete_subject(incomplete)


def study(
    subject: Annotated[str, typer.Argument(help=options.SUBJECT, autocompletion=complete)] = options.DEFAULT,
    data: options.Data = None,
    task: Annotated[str | None, typer.Option("--task", help="Name of a task of the subject, or a file of pairs.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the study. Default: microtome-study, with the subject's name behind it "
                     "where one was named."),
    ] = None,
    twins: Annotated[int, typer.Option("--twins", min=1, help="Randomised twins; 29 give p-values down to 0.033.")] = 29,
    randomise: Annotated[
        str | None,
        typer.Option("--randomise", metavar="KIND", help="Study a twin that learned nothing instead: reinit (weights drawn "
                     "again) or weight_shuffle. Few findings should survive."),
    ] = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:  # fmt: skip
    """Study a network: what it does, what its units respond to, what carries a behaviour, and whether chance would say so.

    Writes report.html (open it in a browser), findings.json and all recordings to the folder.

    An interrupted study goes on where it stopped when the same command is given again.
    """
    from microtome.study import study as run

    named = given.subject(subject, device)
    _few_threads(named)
    if randomise is not None:
        named = named.twin(randomise, seed=given.beyond(twins, seed))  # not one of the twins that it is compared with
    folder = out or default_folder(subject, randomise)
    log.info("studying %s in %s", named.name, folder)
    with keeps(f"finished parts are in '{folder}', with a report of them; give the same command again to go on."):
        found = run(named, data=data, task=task, out=folder, twins=twins, seed=seed, told=lambda part: log.info("  %s", part))
    verdicts = [f.verdict for f in found.findings]
    data_out = {
        "subject": named.name, "folder": str(folder), "report": str(found.report), "findings": findings_json(found.findings),
    }  # fmt: skip
    summary = f"{verdicts.count('supported')} of {len(verdicts)} claims are supported. Report: {found.report}"
    return Answer(data_out, [findings_grid(found.findings), summary])


def verify(folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")]) -> Answer:
    """Compare every file of a study with the hashes written when it was made; exit code 1 when one differs."""
    from microtome import io
    from microtome.errors import UsageError
    from microtome.study.folder import StudyFolder

    study = StudyFolder(folder)
    if not study.file.is_file():
        raise UsageError(f"'{folder}' holds no study (no study.json). Make one: microtome study --out {folder}")
    parts = [p.parent for p in sorted(study.path.rglob("manifest.jsonl")) if p.parent != study.path]
    lists = {"": study.manifest, **{p.relative_to(study.path).as_posix() + "/": io.Manifest(p) for p in parts}}
    damage = [
        {"file": prefix + d.file, "kind": d.kind, "expected": d.expected, "found": d.found}
        for prefix, manifest in lists.items()
        for d in manifest.verify()
        if d.kind != "extra"
    ]
    files = sum(len(_readable(m)) for m in lists.values())
    lines = [f"{d['file']}: {d['kind']}: expected {d['expected']}, found {d['found']}" for d in damage]
    lines.append(f"{files} files, {len(damage)} differ from what was written." if damage else f"{files} files, all as written.")
    return Answer({"folder": str(folder), "files": files, "damage": damage}, lines, int(bool(damage)))


def _readable(manifest: object) -> dict:
    from microtome.errors import IntegrityError

    try:
        return manifest.entries()  # type: ignore[attr-defined]
    except IntegrityError:  # verify has named the lines
        return {}


def default_folder(subject: str, randomise: str | None) -> Path:
    """Where a study goes when no folder is named: one folder per subject, since a folder holds one study.

    >>> default_folder("organism:language", None).name, default_folder("./models/gpt2", "reinit").name
    ('microtome-study', 'microtome-study-gpt2-reinit')
    """
    short = re.sub(r"[^A-Za-z0-9_.-]+", "-", subject.removeprefix("organism:").rstrip("/").rpartition("/")[2]).strip("-.")
    parts = ["microtome-study", "" if subject == options.DEFAULT else short, randomise or ""]
    return Path("-".join(p for p in parts if p))


def _few_threads(subject: Any) -> None:
    """One thread for a small network: handing its small products to several costs more than it saves."""
    import os

    import torch

    if "OMP_NUM_THREADS" not in os.environ and sum(p.numel() for p in subject.module.parameters()) < SMALL:
        torch.set_num_threads(1)
