"""Spans: attributions of tokens added up over words, sentences or any parts of a prompt."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from microtome.attribute.attribution import Attribution
from microtome.errors import ShapeError
from microtome.subject.tokens import offsets

Split = Callable[[str], Sequence[str]]


def words(text: str) -> list[str]:
    """Words, each with the white space before it.

    >>> words("a big  ring")
    ['a', ' big', '  ring']
    """
    return re.findall(r"\s*\S+|\s+$", text)


def sentences(text: str) -> list[str]:
    """Sentences, each with the white space before it.

    >>> sentences("He left. She stayed")
    ['He left.', ' She stayed']
    """
    return re.findall(r"\s*\S.*?(?:[.!?]+(?=\s)|$)|\s+$", text, re.DOTALL)


SPLITS: Mapping[str, Split] = {"words": words, "sentences": sentences}


def by_span(subject: Any, attribution: Attribution, prompts: str | Sequence[str], split: Split) -> Attribution:
    """Attributions of tokens added up over the parts of their prompt; tokens behind it, and special ones, stay by themselves.

    Sums stay as they were. ``terms["prompt"]`` of the attribution says which prompt a row belongs to.

    Raises
    ------
    ShapeError
        When the parts do not make up the prompt.
    TokenizerError
        When the tokenizer cannot say where its tokens come from.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    placed = attribution.by_position()
    mask = torch.ones_like(placed, dtype=torch.bool) if attribution.mask is None else attribution.mask
    rows, labels = [], []
    for i, prompt in enumerate(attribution.terms["prompt"].tolist()):
        row = placed[i, mask[i]]
        tokens = (attribution.tokens or [])[i]
        which, names = _assigned(subject, texts[prompt], list(split(texts[prompt])), tokens)
        rows.append(torch.zeros(len(names), dtype=row.dtype).index_add_(0, torch.tensor(which), row))
        labels.append(names)
    width = max(map(len, rows))
    values = torch.stack([torch.cat([r, r.new_zeros(width - len(r))]) for r in rows])
    real = torch.arange(width) < torch.tensor([[len(r)] for r in rows])
    return replace(attribution, values=values, axes=("batch", "position"), mask=real, tokens=labels)


def _assigned(subject: Any, text: str, parts: list[str], tokens: Sequence[str]) -> tuple[list[int], list[str]]:
    """Span of each token, and the spans' texts."""
    if "".join(parts) != text:
        raise ShapeError(f"the parts {parts[:4]} do not make up the prompt {text[:60]!r}; white space belongs to them too.")
    ends, total = [], 0
    for part in parts:
        total += len(part)
        ends.append(total)
    found = offsets(subject.tokenizer, text, len(subject.tokenizer(text)["input_ids"]))
    which: list[int] = []
    names: list[str] = []
    seen: dict[int, int] = {}
    for i, token in enumerate(tokens):
        start, stop = found[i] if i < len(found) else (0, 0)
        part = next((p for p, end in enumerate(ends) if stop > start and stop <= end), None)
        if part is None:  # special, or generated
            which.append(len(names))
            names.append(token)
        else:
            if part not in seen:
                seen[part] = len(names)
                names.append(parts[part].strip() or parts[part])
            which.append(seen[part])
    return which, names
