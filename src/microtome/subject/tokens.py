"""Texts to token batches, and token-level truth from character spans."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from microtome.errors import TokenizerError, UsageError
from microtome.subject.inputs import Inputs


def check_tokenizer(tokenizer: Any, module: nn.Module) -> Any:
    """The tokenizer, if its ids fit the model's embedding.

    Raises
    ------
    TokenizerError
        When the tokenizer can produce ids that the model has no row for.
    """
    rows = getattr(getattr(module, "config", None), "vocab_size", None)
    size = len(tokenizer)
    if isinstance(rows, int) and size > rows:
        raise TokenizerError(
            f"the tokenizer has {size} tokens, the model has {rows} rows in its embedding: they do not belong together. "
            "Load the tokenizer from the model's own folder."
        )
    return tokenizer


def tokens(
    tokenizer: Any,
    texts: Sequence[str] | str,
    *,
    pad: Literal["right", "left"] = "right",
    bos: bool | None = None,
    max_length: int | None = None,
) -> Inputs:
    """See `Subject.tokens`."""
    if tokenizer is None:
        raise TokenizerError("this subject has no tokenizer. Pass one: mt.Subject(module, tokenizer=...), or give token ids.")
    listed = [texts] if isinstance(texts, str) else list(texts)
    if not listed:
        raise UsageError("no texts were given.")
    if not all(isinstance(t, str) for t in listed):
        raise UsageError(f"texts must be strings, got {type(next(t for t in listed if not isinstance(t, str))).__name__}.")
    if pad not in ("right", "left"):
        raise UsageError(f"pad must be 'right' or 'left', got {pad!r}.")
    rows = [_with_bos(tokenizer, tokenizer(t)["input_ids"], bos)[:max_length] for t in listed]
    if any(not r for r in rows):
        raise UsageError(f"text {next(i for i, r in enumerate(rows) if not r)} has no tokens.")
    return pad_rows(rows, pad_id(tokenizer, rows), pad)


def _with_bos(tokenizer: Any, ids: list[int], bos: bool | None) -> list[int]:
    """None leaves what the tokenizer does by itself; True or False makes sure."""
    first = tokenizer.bos_token_id
    if bos is None:
        return ids
    if bos and first is None:
        raise TokenizerError("bos=True, but the tokenizer has no beginning-of-sequence token.")
    has = bool(ids) and ids[0] == first
    return ([first, *ids] if bos and not has else ids[1:] if has and not bos else ids)


def pad_id(tokenizer: Any, rows: Sequence[Sequence[int]]) -> int:
    """The id to pad with. Padding is masked, so any id serves; without a pad token the end token (or 0) is used."""
    for value in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if value is not None:
            return int(value)
    if len({len(r) for r in rows}) == 1:
        return 0
    raise TokenizerError(
        "the texts have different lengths and the tokenizer has no pad or end token. "
        "Set one: subject.tokenizer.pad_token = '<some token>', or give texts of equal length."
    )


def pad_rows(rows: Sequence[Sequence[int]], fill: int, pad: Literal["right", "left"] = "right") -> Inputs:
    """Token rows as one batch with its attention mask."""
    width = max(len(r) for r in rows)
    ids = torch.full((len(rows), width), fill, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(0, len(row)) if pad == "right" else slice(width - len(row), width)
        ids[i, place] = torch.tensor(row)
        mask[i, place] = 1
    return Inputs({"input_ids": ids, "attention_mask": mask})


def position_ids(mask: Tensor) -> Tensor:
    """Positions counted over real tokens, so that padding on either side changes nothing."""
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def offsets(tokenizer: Any, text: str, length: int) -> list[tuple[int, int]]:
    """Character span of each of `length` tokens (special tokens get an empty span).

    Raises
    ------
    TokenizerError
        When the tokenizer cannot say where its tokens come from.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise TokenizerError("token-level truth needs a tokenizer with character offsets (a 'fast' tokenizer).")
    found = [tuple(map(int, pair)) for pair in tokenizer(text, return_offsets_mapping=True)["offset_mapping"]]
    missing = length - len(found)
    return ([(0, 0)] * missing + found)[:length] if missing >= 0 else found[-length:]
