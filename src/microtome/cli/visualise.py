"""``microtome visualise``: pictures made for a class, a unit or a direction of an image network."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from microtome.cli import given, options
from microtome.cli.answer import Answer, findings_grid, findings_json, frame_grid
from microtome.cli.command import command

#: Networks that learned nothing, by the name of what is done to the weights.
TWINS = ("reinit", "weight_shuffle", "none")


def complete_twin(incomplete: str) -> list[str]:
    """Kinds of twins, for the completion of the shell."""
    return [name for name in TWINS if name.startswith(incomplete)]


def complete_picture(incomplete: str) -> list[str]:
    """Ways to write a picture, for the completion of the shell."""
    return [name for name in ("fourier", "pixels") if name.startswith(incomplete)]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "visualise", examples=(
        "microtome visualise organism:vision-cnn --class 0 --out square.png",
        "microtome visualise organism:vision-cnn --unit 'conv3[5]' --starts 20 --out unit.png --json",
        "microtome visualise organism:vision-cnn --basis bases/relu4 --index 3 --out direction.png",
    ))(visualise)  # fmt: skip


def visualise(
    subject: options.Subject,
    class_: Annotated[str | None, typer.Option("--class", "-c", help="A class, by its number or its name.")] = None,
    unit: Annotated[str | None, typer.Option("--unit", "-u", help="A unit, 'SITE[NUMBER]': its mean over places.")] = None,
    basis: Annotated[Path | None, typer.Option("--basis", "-b", help="Folder of a saved basis; needs --index.")] = None,
    index: Annotated[int | None, typer.Option("--index", min=0, help="Which coordinate of the basis.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File (.png) for the pictures; the answer goes beside it (.json).")
    ] = None,
    starts: Annotated[int, typer.Option("--starts", min=1, help="Pictures, from so many random starts; p can reach "
                                        "1 / (1 + starts).")] = 20,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps of the ascent.")] = 128,
    picture: Annotated[str, typer.Option("--picture", autocompletion=complete_picture, help="How pictures are written: "
                                         "fourier or pixels.")] = "fourier",
    twin: Annotated[str, typer.Option("--twin", autocompletion=complete_twin, help="The network that learned nothing on which "
                                      "the same is made: reinit, weight_shuffle; none for no null.")] = "reinit",
    images: Annotated[int, typer.Option("--images", min=2, help="Use at most so many real pictures.")] = 128,
    data: options.Data = None,
    seed: options.Seed = 0,
    device: options.Device = "cpu",
) -> Answer:  # fmt: skip
    """Make pictures that a class, a unit or a direction responds to most, and compare with those of a network without learning.

    Real pictures (--data, or the organism's own) say what pictures are like, and how much the target responds to real ones. The
    file holds the pictures, and below them those of the twin.
    """
    from microtome.attribute import visualise as made
    from microtome.errors import UsageError, nearest

    given.ends_in(out, ".png")
    if twin not in TWINS:
        raise UsageError(f"no twin '{twin}'; it is one of {', '.join(TWINS)}.{nearest(twin, TWINS)}")
    if sum(asked is not None for asked in (class_, unit, basis)) != 1 or (basis is None) != (index is None):
        raise UsageError("name one target: --class 0, --unit 'SITE[NUMBER]', or --basis FOLDER with --index NUMBER.")
    network = given.subject(subject, device)
    target = _target(network, class_, unit, basis, index)
    shown = given.stimuli(network, data, seed)
    if shown.kind != "image":
        raise UsageError(f"{network.name} is shown {shown.kind}; pictures can be made for networks of images only.")
    found = made(
        network, target, shown[:images].inputs, starts=starts, steps=steps, picture=picture,
        twin=None if twin == "none" else twin, seed=seed,
    )  # fmt: skip
    findings = [] if found.null is None else [found.finding()]
    answer: dict[str, Any] = {
        "subject": network.name, "target": found.target, "score": found.score, "percentile": found.percentile,
        "null": None if found.null is None else {"twin": twin, "score": found.null.score},
        "curve": found.curve.mean(1), "real": {"images": len(found.real), "mean": found.real.mean(), "max": found.real.max()},
        "settings": found.settings, "findings": findings_json(findings), "picture": None if out is None else str(out),
    }  # fmt: skip
    if out is not None:
        _written(out, found, answer)
    lines: list[Any] = [repr(found), frame_grid(found.table, list(found.table.columns), "pictures")]
    lines += [findings_grid(findings)] if findings else ["No twin was asked, so there is no null."]
    lines += [f"Pictures: {out}; the answer beside them: {out.with_suffix('.json')}"] if out is not None else []
    return Answer(answer, lines)


def _target(network: Any, class_: str | None, unit: str | None, basis: Path | None, index: int | None) -> Any:
    """What a picture is to raise, checked before anything is made."""
    from microtome.errors import UsageError, nearest

    if basis is not None:
        from microtome.subject.basis_files import load_basis

        return load_basis(basis), index
    if unit is not None:
        if not re.fullmatch(r"[^\[\]]+\[\d+\]", unit):
            raise UsageError(f"--unit takes 'SITE[NUMBER]', got '{unit}'.")
        network.site(unit.partition("[")[0])
        return unit
    known = [str(name) for name in getattr(getattr(network.organism, "truth", None), "classes", None) or ()]
    if class_ is not None and class_.isdecimal():
        return int(class_)
    if class_ not in known:
        have = f"its classes are {', '.join(known)}" if known else "its classes have numbers only"
        raise UsageError(f"no class '{class_}' in {network.name}; {have}.{nearest(str(class_), known)}")
    return known.index(class_)


def _written(out: Path, found: Any, answer: dict[str, Any]) -> None:
    """The pictures, those of the twin below, as PNG; the answer beside them."""
    import numpy as np
    import torch

    from microtome.cli.plain import document
    from microtome.io import write_bytes, write_text
    from microtome.study.report.charts.png import encoded

    sheets = [found.grid(), *([] if found.null is None else [found.null.grid()])]
    gap = torch.full((max(2, found.images.shape[2] // 4), *sheets[0].shape[1:]), 1.0)
    sheet = sheets[0] if len(sheets) == 1 else torch.cat([sheets[0], gap, sheets[1]])
    grey = sheet if sheet.shape[2] == 3 else sheet.mean(2, keepdim=True).expand(-1, -1, 3)
    larger = max(1, 512 // max(grey.shape[:2]))  # small networks see small pictures
    pixels = grey.repeat_interleave(larger, 0).repeat_interleave(larger, 1).mul(255).round().numpy().astype(np.uint8)
    write_bytes(out, encoded(pixels))
    write_text(out.with_suffix(".json"), document(answer) + "\n")
