"""What a study looks at: the subject, data with truth where there is any, a task, and the sites worth recording."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from microtome.errors import Degenerate, MicrotomeError, SiteError
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.task import Task
from microtome.study.shown import enough, stimuli_of
from microtome.study.tasks import read_task, tasks_of
from microtome.subject.subject import Subject

#: Tasks of an organism that are tried in this order; the first that the subject does is traced.
PREFERRED = ("ioi", "induction", "facts", "agreement", "successor", "coloured_objects")
#: A subject does a task when it prefers the answer on this share of the prompts.
DOES = 0.8


@dataclass
class Material:
    """Attributes
    ----------
    subject : Subject
    stimuli : Stimuli
    tasks : dict of str to Task
        All that apply, for the table of what the subject can do.
    task : Task
        The one that is traced.
    neurons : list of str
        Sites whose units are searched and described.
    stream : str
        Site for the dictionary and the probes.
    positions : str
        How rows are made: "all", or "mean" for image sites of different size.
    accuracy : dict of str to float
    """

    subject: Subject
    stimuli: Stimuli
    tasks: dict[str, Task]
    task: Task
    neurons: list[str]
    stream: str
    positions: str = "all"
    accuracy: dict[str, float] = field(default_factory=dict)

    def of(self, subject: Subject) -> "Material":
        """The same for a twin."""
        return replace(self, subject=subject)


def material(
    subject: Subject, *, data: "Stimuli | str | Path | None" = None, task: "Task | str | None" = None, seed: int = 0
) -> Material:
    """Gather what a study of `subject` looks at.

    Parameters
    ----------
    subject : Subject
    data : Stimuli or path, optional
        Texts (.txt, .jsonl, .parquet) or images (.npz). Default: the organism's own corpus, or text that the model writes.
    task : Task, name or path, optional
        A task of the organism by name, pairs in a file, or a Task. Default: the first that the subject does.
    seed : int

    Raises
    ------
    UsageError
        When the subject is neither a language model nor an image model, or needs data.
    Degenerate
        When no task could be found that the subject does.
    """
    truth = getattr(subject.organism, "truth", None)
    stimuli = enough(subject, stimuli_of(subject, data, truth, seed))
    tasks = tasks_of(subject, stimuli, truth, seed)
    if isinstance(task, Task):
        tasks = {task.name: task, **tasks}
        wanted = task.name
    elif task is not None and str(task) not in tasks:
        tasks = {"task": read_task(task, tasks), **tasks}
        wanted = "task"
    else:
        wanted = task
    accuracy = {name: share_right(subject, t) for name, t in tasks.items()}
    accuracy = {name: value for name, value in accuracy.items() if value is not None}
    chosen = str(wanted) if wanted is not None else _choose(accuracy)
    if chosen not in accuracy:
        raise Degenerate(f"task '{chosen}' cannot be put to {subject.name}: its answers are not single tokens there.")
    neurons, stream, positions = _sites(subject, stimuli)
    known = {k: v for k, v in accuracy.items() if v is not None}
    return Material(subject, stimuli, {k: tasks[k] for k in known}, tasks[chosen], neurons, stream, positions, known)


def share_right(subject: Subject, task: Task) -> float | None:
    """Share of prompts on which the answer is preferred to the wrong answer; None when the task does not fit the subject."""
    try:
        bound = subject.bind(task, metric="logit_difference")
    except MicrotomeError:
        return None
    rows = bound.metric.where
    logits = subject.run(bound.inputs, logits=rows).logits
    return float((bound.metric(bound.metric.read(logits)) > 0).float().mean())


def _choose(accuracy: dict[str, float]) -> str:
    for name in PREFERRED:
        if accuracy.get(name, 0.0) >= DOES:
            return name
    if not accuracy:
        raise Degenerate("no task fits this subject; give one with task=.")
    return max(accuracy, key=accuracy.get)  # type: ignore[arg-type]


def _sites(subject: Subject, stimuli: Stimuli) -> tuple[list[str], str, str]:
    if subject.trunks:
        neurons = [s.name for s in subject.sites("*mlp.hidden")] or [s.name for s in subject.sites("*resid_post")]
        stream = [s.name for s in subject.sites("*resid_post")]
        if neurons and stream:
            return neurons, stream[max(0, (len(stream) - 1) // 2)], "all"
    spatial = _spatial(subject, stimuli)
    if not spatial:
        raise SiteError(f"{subject.name} has no blocks and no layers with places; study it with the methods themselves.")
    late = spatial[-4:]
    return late, late[len(late) // 2], "mean"


def _spatial(subject: Subject, stimuli: Stimuli) -> list[str]:
    """Layers whose output has channels and places: the children that hold convolutions, in order."""
    found: list[str] = []
    handles = []

    def seen(name: str):
        def hook(_module: Any, _args: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor) and output.ndim == 4 and output.shape[-1] > 1:
                found.append(name)

        return hook

    for name, module in subject.module.named_modules():
        leaf = not any(True for _ in module.children())
        if name and ((leaf and "relu" in name.lower()) or (not leaf and any(
                isinstance(c, torch.nn.Conv2d) for c in module.children()))):
            handles.append(module.register_forward_hook(seen(name)))
    try:
        subject.run(subject.inputs(stimuli[:2]))
    finally:
        for handle in handles:
            handle.remove()
    return list(dict.fromkeys(found))
