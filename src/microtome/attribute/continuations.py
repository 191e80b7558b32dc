"""Continuations as steps: after which tokens each new token came, and which other token might have come."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.errors import ShapeError, TokenizerError, UsageError


@dataclass(frozen=True)
class Step:
    """One predicted token.

    Attributes
    ----------
    prompt, step : int
        Which prompt, and which token after it.
    context : list of int
        All tokens before it.
    target, other : int
        The token, and the one it is compared with.
    target_text, other_text : str
    """

    prompt: int
    step: int
    context: list[int]
    target: int
    other: int
    target_text: str
    other_text: str


@dataclass(frozen=True)
class Steps:
    """All steps of some continuations; `contrast` says whether `other` means anything."""

    rows: list[Step]
    contrast: bool

    def by_length(self) -> Iterator[list[int]]:
        """Rows whose contexts are equally long, so that none needs padding."""
        for length in sorted({len(r.context) for r in self.rows}):
            yield [i for i, r in enumerate(self.rows) if len(r.context) == length]


def steps_of(subject: Any, prompts: Any, continuation: Any, contrast: Any) -> Steps:
    """The steps of continuations; with a contrast, those at which the two differ.

    Raises
    ------
    ShapeError
        When there is not one continuation (and contrast) per prompt.
    TokenizerError
        When a prompt is cut into other tokens once it is continued.
    """
    before = token_rows(subject, prompts)
    after = _new_rows(subject, prompts, before, continuation, "continuation")
    others = None if contrast is None else _new_rows(subject, prompts, before, contrast, "contrast")
    rows = []
    for i, (old, new) in enumerate(zip(before, after)):
        for t, token in enumerate(new):
            if others is not None and (t >= len(others[i]) or others[i][t] == token):
                continue
            # Metrics of one token do not read the other one; it must only differ.
            other = others[i][t] if others is not None else int(token == 0)
            texts = [_text(subject, x) for x in (token, other)]
            rows.append(Step(i, t, [*old, *new[:t]], token, other, *texts))
    return Steps(rows, contrast is not None)


def token_rows(subject: Any, prompts: Any) -> list[list[int]]:
    """Token ids of each prompt, without padding.

    Raises
    ------
    UsageError
        When there are no prompts, or they are neither texts nor token ids.
    """
    if isinstance(prompts, Tensor):
        if prompts.ndim != 2 or prompts.dtype.is_floating_point or prompts.numel() == 0:
            raise UsageError(f"prompts must be texts or token ids [n, length], got {prompts.dtype} {list(prompts.shape)}.")
        return prompts.tolist()
    found = subject.tokens([prompts] if isinstance(prompts, str) else list(prompts))
    return [row[int(a) : int(b)] for row, a, b in zip(found.ids.tolist(), found.frame.start, found.frame.stop)]


def greedy(subject: Any, prompts: Any, tokens: int) -> Tensor:
    """The `tokens` likeliest tokens after each prompt, one after the other [n, tokens]."""
    rows = token_rows(subject, prompts)
    new = torch.zeros(len(rows), tokens, dtype=torch.long)
    for i, row in enumerate(rows):
        ids = torch.tensor([row])
        for t in range(tokens):
            logits = subject.run(ids, logits=torch.tensor([ids.shape[1] - 1])).logits
            new[i, t] = logits.reshape(-1).argmax()
            ids = torch.cat([ids, new[i : i + 1, t : t + 1]], 1)
    return new


def _new_rows(subject: Any, prompts: Any, before: list[list[int]], given: Any, what: str) -> list[list[int]]:
    if isinstance(given, str):
        given = [given]
    if len(given) != len(before):
        raise ShapeError(f"{len(before)} prompts need as many {what}s, got {len(given)}.")
    if isinstance(given, Tensor):
        if given.ndim != 2 or given.dtype.is_floating_point or given.shape[1] == 0:
            raise UsageError(f"a {what} is texts or token ids [n, new], got {given.dtype} {list(given.shape)}.")
        return given.tolist()
    if isinstance(prompts, Tensor):
        raise UsageError(f"the prompts are token ids; give the {what} as token ids too.")
    texts = [prompts] if isinstance(prompts, str) else prompts
    return [_continued(subject.tokenizer, text, row, new) for text, row, new in zip(texts, before, given)]


def _continued(tokenizer: Any, prompt: str, before: Sequence[int], new: str) -> list[int]:
    """Tokens of `new` behind the prompt, with a space between the two where that is what keeps the prompt's own tokens."""
    for glue in ("", " "):
        after = tokenizer(prompt + glue + new)["input_ids"]
        ends = {tokenizer.eos_token_id, tokenizer.sep_token_id} - {before[-1]}
        while after and after[-1] in ends:
            after = after[:-1]
        if after[: len(before)] == list(before) and len(after) > len(before):
            return after[len(before) :]
    raise TokenizerError(
        f"{new!r} cannot follow {prompt[-40:]!r}: the tokenizer cuts the prompt in another way. Give token ids."
    )


def _text(subject: Any, token: int) -> str:
    return str(token) if subject.tokenizer is None else subject.tokenizer.decode([token])
