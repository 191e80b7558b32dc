"""What a study looks at: the subject, data with truth where there is any, a task, and the sites worth recording."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from microtome.errors import Degenerate, MicrotomeError, SiteError, UsageError
from microtome.rng import rng, torch_rng
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

#: Tasks of an organism that are tried in this order; the first that the subject does is traced.
PREFERRED = ("ioi", "induction", "facts", "agreement", "successor", "coloured_objects")
#: A subject does a task when it prefers the answer on this share of the prompts.
DOES = 0.8
DOCUMENTS, PROMPTS = 1200, 64
#: About so many tokens are recorded; more documents than that are left out.
TOKENS = 30_000


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


def enough(subject: Subject, stimuli: Stimuli, count: int = TOKENS) -> Stimuli:
    """As many of the first documents as hold about `count` tokens, 24 at least."""
    if stimuli.kind != "text":
        return stimuli
    few = list(stimuli.inputs)[:32]
    per_document = float(subject.tokens(few).lengths.sum()) / len(few)
    return stimuli[: max(24, int(count / max(1.0, per_document)))]


def share_right(subject: Subject, task: Task) -> float | None:
    """Share of prompts on which the answer is preferred to the wrong answer; None when the task does not fit the subject."""
    try:
        bound = subject.bind(task, metric="logit_difference")
    except MicrotomeError:
        return None
    rows = "all" if bound.metric.positions is None else bound.metric.positions
    logits = subject.run(bound.inputs, logits=rows).logits
    return float((bound.metric(bound.metric.read(logits)) > 0).float().mean())


def _choose(accuracy: dict[str, float]) -> str:
    for name in PREFERRED:
        if accuracy.get(name, 0.0) >= DOES:
            return name
    if not accuracy:
        raise Degenerate("no task fits this subject; give one with task=.")
    return max(accuracy, key=accuracy.get)  # type: ignore[arg-type]


def stimuli_of(subject: Subject, data: Any, truth: Any, seed: int) -> Stimuli:
    """What the subject is shown: the data given, the organism's own, or text that the model writes."""
    if isinstance(data, Stimuli):
        return data
    if data is not None:
        return _read(Path(data))
    if truth is not None and hasattr(truth, "corpus"):
        return truth.corpus(DOCUMENTS, seed)
    if subject.organism is not None and subject.organism.examples is not None:
        made = subject.organism.examples(512, seed)
        if isinstance(made, Stimuli):
            return made
    if subject.tokenizer is not None and subject.trunks and subject.trunks[0].stack.causal:
        from microtome.stimuli.english import marked

        return marked(written(subject, 256, seed), "the model's own text")
    raise UsageError(f"{subject.name} needs data: a .txt, .jsonl or .parquet file of texts, or an .npz of images.")


def _read(path: Path) -> Stimuli:
    from microtome.stimuli import images, texts
    from microtome.stimuli.english import marked

    if not path.exists():
        raise UsageError(f"there is no file '{path}'.")
    if path.suffix == ".npz":
        return images(path)
    found = texts(path)
    return found if len(found.spans) else marked(list(found.inputs)[:DOCUMENTS], path.name)


def written(subject: Subject, n: int, seed: int, length: int = 96) -> list[str]:
    """`n` texts sampled from the model itself, from its beginning-of-sequence token."""
    tokenizer = subject.tokenizer
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if begin is None:
        raise UsageError(f"{subject.name} has no beginning token to write from; give data.")
    ids = torch.full((n, 1), int(begin))
    generator = torch_rng(seed, "written")
    past = None
    with torch.no_grad():
        step = ids
        for _ in range(length):
            out = subject.module(step, past_key_values=past, use_cache=True)
            past = out.past_key_values
            step = torch.multinomial(out.logits[:, -1].softmax(-1), 1, generator=generator)
            ids = torch.cat([ids, step], dim=1)
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return [t for t in (t.strip() for t in texts) if t] or [" "]


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
