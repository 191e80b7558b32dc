"""The main job: put a subject through all stages, keep each as it finishes, and write the report."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from microtome.study.blocks import Section
from microtome.study.context import Context
from microtome.study.folder import StudyFolder
from microtome.study.material import material
from microtome.study.stages import STAGES
from microtome.subject.subject import Subject


class Study:
    """A finished (or interrupted) study: a folder with sections, findings and a report.

    Attributes
    ----------
    folder : StudyFolder
    sections : list of Section
    """

    def __init__(self, folder: StudyFolder, sections: list[Section]) -> None:
        self.folder, self.sections = folder, sections

    @property
    def findings(self) -> list[Any]:
        """All findings, in the order of the report."""
        return [f for s in self.sections for f in s.findings]

    @property
    def report(self) -> Path:
        """Path of the report."""
        return self.folder.path / "report.html"

    @classmethod
    def load(cls, path: str | Path) -> "Study":
        """Open the study in a folder."""
        folder = StudyFolder(path)
        sections = [s for key in STAGES if (s := folder.done(key)) is not None]
        return cls(folder, sections)

    def __repr__(self) -> str:
        verdicts = [f.verdict for f in self.findings]
        return (f"Study({self.folder.path}: {len(self.sections)} sections, {len(verdicts)} findings, "
                f"{verdicts.count('supported')} supported)")  # fmt: skip


def study(
    subject: Subject,
    *,
    data: Any = None,
    task: Any = None,
    out: str | Path = "microtome-study",
    twins: int = 29,
    seed: int = 0,
    told: Callable[[str], None] = lambda line: None,
) -> Study:
    """Study a network: what it can do, what its units respond to, what carries a behaviour, and whether any of it is real.

    Parameters
    ----------
    subject : Subject
    data : Stimuli or path, optional
        Texts or images; default the organism's corpus, or text that the model writes itself.
    task : Task, name or path, optional
        The behaviour to trace; default the first that the subject does.
    out : path
        Folder of the study. An interrupted study continues there; another study there is refused.
    twins : int, default 29
        Randomised twins; 29 give p-values down to 0.033, enough for seven statistics.
    seed : int, default 0
    told : callable
        Receives one line when a stage begins.

    Returns
    -------
    Study
        ``.findings``, ``.report`` (one HTML file), ``.sections``.

    Raises
    ------
    UsageError, SubjectMismatch, Degenerate
    """
    found = material(subject, data=data, task=task, seed=seed)
    settings = {
        "subject": subject.fingerprint(), "subject_name": subject.name, "data": found.stimuli.fingerprint(),
        "data_name": found.stimuli.name, "task": found.task.fingerprint(), "task_name": found.task.name, "seed": seed,
        "twins": twins, "versions": _versions(),
    }  # fmt: skip
    folder = StudyFolder(out, settings)
    context = Context(found, folder.path, seed, twins)
    sections: list[Section] = []
    try:
        for key, stage in STAGES.items():
            section = folder.done(key)
            if section is None:
                told(key)
                began = time.perf_counter()
                section = replace(stage(context), seconds=time.perf_counter() - began)
                folder.keep(section)
                _remember(folder, context)
            else:
                _recall(folder, context)
            sections.append(section)
    finally:
        finished = Study(folder, sections)
        if sections:
            _publish(finished, settings)
    return finished


def _publish(done: Study, settings: dict[str, Any]) -> None:
    import json

    from microtome.study.report import render

    done.folder.write_json("findings.json", [json.loads(f.to_json()) for f in done.findings])
    facts = {k.replace("_", " "): str(v) for k, v in settings.items() if k != "versions"}
    facts |= {f"version of {k}": v for k, v in settings["versions"].items()}
    facts["seconds"] = f"{sum(s.seconds for s in done.sections):.0f}"
    page = render(f"A study of {settings['subject_name']}", f"{settings['data_name']}, task '{settings['task_name']}'",
                  done.sections, facts)  # fmt: skip
    done.folder.write_text("report.html", page)
    done.folder.enter()


def _remember(folder: StudyFolder, context: Context) -> None:
    plain = {k: v for k, v in context.held.items() if isinstance(v, (int, float, str))}
    folder.write_json("context.json", {"observed": context.observed, "draws": context.draws, "held": plain})


def _recall(folder: StudyFolder, context: Context) -> None:
    from microtome.io import read_json

    file = folder.path / "context.json"
    if file.exists() and not context.draws:
        kept = read_json(file)
        context.observed, context.draws = kept["observed"], kept["draws"]
        context.held |= kept["held"]


def _versions() -> dict[str, str]:
    from microtome import __version__
    from microtome.evidence import library_versions

    return {"microtome": __version__, **library_versions()}
