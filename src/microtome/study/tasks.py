"""Tasks that a study puts to its subject: the organism's, made from the data, or read from a file."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from microtome.errors import UsageError
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

PROMPTS = 64


def tasks_of(subject: Subject, stimuli: Stimuli, truth: Any, seed: int) -> dict[str, Task]:
    """Tasks that apply by themselves: the organism's, the classes of images, or generic ones of language models."""
    if subject.organism is not None and subject.organism.examples is not None:
        made = subject.organism.examples(PROMPTS, seed)
        if isinstance(made, Task):
            return {made.name: made}
    if truth is not None and hasattr(truth, "tasks") and hasattr(truth, "task"):
        return {name: truth.task(name, PROMPTS, seed) for name in truth.tasks}
    if stimuli.kind == "image":
        return {"classify": classification(subject, stimuli, seed)}
    if subject.tokenizer is not None:
        from microtome.stimuli.english import pronouns

        found = {"pronoun": pronouns()}
        if stimuli.kind == "text":
            found["induction"] = repeated_tokens(subject, stimuli, seed)
        return found
    return {}


def repeated_tokens(subject: Subject, stimuli: Stimuli, seed: int, n: int = PROMPTS, length: int = 12) -> Task:
    """Random tokens of the data, twice: after the second run's beginning, which token follows? Works for any model."""
    ids = subject.tokens(list(stimuli.inputs)[:64])
    pool = torch.unique(ids.ids[ids.ids > 2] if ids.ids is not None else torch.arange(10))
    stream = rng(seed, "repeated tokens")
    begin = subject.tokenizer.bos_token_id
    clean, corrupt, answers, wrong = [], [], [], []
    for _ in range(n):
        run = stream.choice(pool.numpy(), size=length + 1, replace=False)
        other, run = run[-1], run[:-1]
        first = run.copy()
        first[-1] = other
        lead = [] if begin is None else [begin]
        clean.append([*lead, *run, *run[:-1]])
        corrupt.append([*lead, *first, *run[:-1]])
        answers.append(int(run[-1]))
        wrong.append(int(other))
    return Task("induction", torch.tensor(np.array(clean)), torch.tensor(np.array(corrupt)), torch.tensor(answers),
                torch.tensor(wrong), kind="tokens", notes="The token that followed before follows again.")  # fmt: skip


def classification(subject: Subject, stimuli: Stimuli, seed: int, n: int = PROMPTS) -> Task:
    """Pairs of images of different class that the subject tells apart from the label's column."""
    name = next((c for c in ("label", "shape", "class") if c in stimuli.table), None)
    if name is None:
        raise UsageError(f"the images need a column 'label' with their class; they have {list(stimuli.table.columns)}.")
    labels = stimuli.table[name].to_numpy()
    truth = getattr(subject.organism, "truth", None)
    classes = list(truth.classes) if hasattr(truth, "classes") else sorted(set(labels.tolist()), key=str)
    ids = np.array([classes.index(v) if not isinstance(v, (int, np.integer)) else int(v) for v in labels])
    stream = rng(seed, "image pairs")
    first = stream.permutation(len(ids))[:n]
    second = np.array([stream.choice(np.flatnonzero(ids != ids[i])) for i in first])
    images = subject.inputs(stimuli.inputs).main
    return Task("classify", images[first], images[second], torch.tensor(ids[first]), torch.tensor(ids[second]), kind="image",
                notes=f"Class of the image ({name}).")  # fmt: skip


def read_task(task: Any, known: dict[str, Task]) -> Task:
    """The task in a file.

    Raises
    ------
    UsageError
        When there is no such file; names the nearest known task.
    """
    from microtome.errors import nearest
    from microtome.stimuli import agreement, greater_than, pairs

    path = Path(str(task))
    if not path.exists():
        raise UsageError(f"no task '{task}': neither a file nor one of {sorted(known)}.{nearest(str(task), known)}")
    if "greater_than" in path.name:
        return greater_than(path)
    if "agreement" in path.name:
        return agreement(path)
    return pairs(path)
