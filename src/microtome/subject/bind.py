"""A task bound to a subject: token ids, answer ids, where the answer is read, and the metric."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from microtome.errors import ShapeError, TokenizerError, UsageError
from microtome.subject.inputs import Inputs
from microtome.subject.replay import main_trunk
from microtome.subject.run import one_row
from microtome.subject.tokens import offsets

if TYPE_CHECKING:
    from microtome.stimuli.task import Task
    from microtome.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class Metric:
    """One number per example from the logits at its answer position.

    Attributes
    ----------
    function : callable
        (logits [n, vocab], answers [n], wrong [n]) -> values [n].
    answers, wrong : LongTensor[n]
    positions : LongTensor[n] or None
        Absolute column of the answer's logits; None for models that give one row of logits per example.
    name : str
    """

    function: Callable[[Tensor, Tensor, Tensor], Tensor]
    answers: Tensor
    wrong: Tensor
    positions: Tensor | None
    name: str = "metric"

    def __call__(self, logits: Tensor) -> Tensor:
        """Values [n] from logits [n, vocab]."""
        return self.function(logits, self.answers.to(logits.device), self.wrong.to(logits.device))

    @property
    def where(self) -> "Tensor | Literal['all']":
        """Which logits a run must give: those at the answer positions, or all where there are no positions."""
        return "all" if self.positions is None else self.positions

    def read(self, logits: Tensor) -> Tensor:
        """Logits [n, vocab] at the answer positions of full logits [n, length, vocab], or of those alone [n, 1, vocab]."""
        logits = one_row(logits)
        if self.positions is None or logits.ndim == 2:
            return logits
        return logits[torch.arange(len(logits), device=logits.device), self.positions.to(logits.device)]

    def rows(self, part: slice) -> "Metric":
        """The metric of a slice of the examples."""
        positions = None if self.positions is None else self.positions[part]
        return Metric(self.function, self.answers[part], self.wrong[part], positions, self.name)

    def repeat(self, times: int) -> "Metric":
        """The metric of the batch stacked `times` times."""
        positions = None if self.positions is None else self.positions.repeat(times)
        return Metric(self.function, self.answers.repeat(times), self.wrong.repeat(times), positions, self.name)


@dataclass(frozen=True, eq=False)
class BoundTask:
    """What a subject needs to be run on a task.

    Attributes
    ----------
    task : Task
    inputs, corrupt : Inputs
        The same length example by example, so that positions correspond.
    answers, wrong : LongTensor[n]
        Token or class ids.
    metric : Metric
    roles : dict
        Role -> token index of its last token in `inputs` [n], counted from the example's first real token; -1 where absent.
    groups : list of int
        What to resample together.
    """

    task: "Task"
    inputs: Inputs
    corrupt: Inputs
    answers: Tensor
    wrong: Tensor
    metric: Metric
    roles: dict[str, Tensor] = field(default_factory=dict)
    groups: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, part: slice) -> "BoundTask":
        return BoundTask(
            self.task[part], self.inputs[part], self.corrupt[part], self.answers[part], self.wrong[part],
            self.metric.rows(part), {k: v[part] for k, v in self.roles.items()}, self.groups[part],
        )


def bind(subject: "Subject", task: "Task", *, metric: str | None = None) -> BoundTask:
    """See `Subject.bind`."""
    from microtome.stimuli.metrics import METRICS

    name = metric or task.metric
    if name not in METRICS:
        raise UsageError(f"no metric {name!r}; known: {sorted(METRICS)}.")
    if task.kind == "text":
        both = subject.tokens([*task.clean, *task.corrupt])
        n = len(task)
        inputs, corrupt = both[:n], both[n:]
        differ = (inputs.lengths != corrupt.lengths).nonzero().flatten().tolist()
        if differ:
            i = differ[0]
            raise ShapeError(
                f"task '{task.name}': clean and corrupt prompts have different token counts in {len(differ)} of {n} examples "
                f"(first: example {i}, {int(inputs.lengths[i])} and {int(corrupt.lengths[i])} tokens), so positions do not "
                "correspond. Keep the pairs with equal length: task[same_length]."
            )
        width = int(inputs.lengths.max())
        inputs, corrupt = (Inputs({k: v[:, :width] for k, v in x.items()}) for x in (inputs, corrupt))
        answers = answer_ids(subject, task.clean, task.answers)
        wrong = answer_ids(subject, task.clean, task.wrong)
        roles = {k: role_positions(subject, inputs, task.clean, v) for k, v in task.roles.items()}
    else:
        inputs, corrupt = subject.inputs(task.clean), subject.inputs(task.corrupt)
        answers, wrong = torch.as_tensor(task.answers), torch.as_tensor(task.wrong)
        roles = {}
        if task.kind == "tokens":
            roles = {k: torch.tensor([p[-1] - 1 if p else -1 for p in v]) for k, v in task.roles.items()}
    trunk = main_trunk(subject)
    positions = inputs.stack_frame(trunk.stack.name if trunk else "").stop - 1 if task.kind in ("text", "tokens") else None
    bound = Metric(METRICS[name], answers, wrong, positions, name)
    return BoundTask(task, inputs, corrupt, answers, wrong, bound, roles, list(task.groups))


def answer_ids(subject: "Subject", prompts: Sequence[str], answers: Sequence[str]) -> Tensor:
    """The token that each answer begins with when it follows its prompt.

    Raises
    ------
    TokenizerError
        When an answer is not exactly one token in its context.
    """
    cache: dict[tuple[str, str], int] = {}
    found = []
    for prompt, answer in zip(prompts, answers):
        key = (prompt.rpartition(" ")[2], answer)  # how an answer is cut depends on the word it follows
        if key not in cache:
            cache[key] = _one_token(subject.tokenizer, prompt, answer)
        found.append(cache[key])
    return torch.tensor(found)


def _one_token(tokenizer, prompt: str, answer: str) -> int:
    before = tokenizer(prompt)["input_ids"]
    if before and before[-1] == tokenizer.eos_token_id != tokenizer.bos_token_id:
        raise TokenizerError(
            "the tokenizer ends every text with its end token, so no answer can follow a prompt. "
            "Load it without: AutoTokenizer.from_pretrained(..., add_eos_token=False), and wrap: mt.Subject(module, tokenizer)."
        )
    for glue in ("", " "):
        if glue and answer[:1].isspace():
            continue
        after = tokenizer(prompt + glue + answer)["input_ids"]
        while after and after[-1] in (tokenizer.eos_token_id, tokenizer.sep_token_id) and after[-1] != before[-1]:
            after = after[:-1]
        if len(after) == len(before) + 1 and after[: len(before)] == before:
            unknown = tokenizer.unk_token_id
            if unknown is not None and after[-1] == unknown:
                break
            return int(after[-1])
    raise TokenizerError(
        f"the answer {answer!r} is not a single token after {prompt[-40:]!r} for this tokenizer. "
        "Choose answers that are one token, or compare a whole continuation with log_prob of its first token."
    )


def role_positions(subject: "Subject", inputs: Inputs, texts: Sequence[str], places: Sequence[tuple[int, ...]]) -> Tensor:
    """Last token that overlaps each character span, counted from the first real token; -1 where there is no span."""
    found = []
    for i, (text, place) in enumerate(zip(texts, places)):
        spans = offsets(subject.tokenizer, text, int(inputs.lengths[i])) if place else []
        hits = [t for t, (a, b) in enumerate(spans) if b > a and a < place[1] and b > place[0]] if place else []
        found.append(hits[-1] if hits else -1)
    return torch.tensor(found)
