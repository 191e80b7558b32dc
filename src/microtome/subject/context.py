"""Edits that stay on for a while: a context around any calls of the module, generation with its cache included."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from microtome.errors import UsageError
from microtome.subject.apply import Count
from microtome.subject.edit import Edit
from microtome.subject.frame import Frame
from microtome.subject.hooks import attached
from microtome.subject.run import refuse_idle, taps_for

if TYPE_CHECKING:
    from microtome.subject.subject import Subject


@contextmanager
def editing(subject: "Subject", edits: Sequence[Edit]) -> Iterator[None]:
    """See `Subject.edit`."""
    for edit in edits:
        if not isinstance(edit, Edit):
            raise UsageError(f"edit takes Edit values (mt.ablate, mt.steer, ...), got {type(edit).__name__}.")
        if edit.op in ("mean", "resample", "clean"):
            raise UsageError(
                f"{edit}: inside a context there is no unedited run to measure '{edit.op}' on. Give value=, or use "
                "subject.run(inputs, edits=[...])."
            )
    counts = [Count() for _ in edits]
    current: dict[str, Frame] = {}

    def look(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        current["frame"] = frame_of_call(args, kwargs)

    handle = subject.module.register_forward_pre_hook(look, with_kwargs=True)
    try:
        taps = list(taps_for(subject, edits, counts).values())
        with attached(subject.module, taps, lambda site: current["frame"]):
            yield
    finally:
        handle.remove()
    refuse_idle(edits, counts)


def frame_of_call(args: tuple, kwargs: dict[str, Any]) -> Frame:
    """Rows, real tokens and window of one call, from the arguments that the module receives."""
    main = next((v for v in (*args, kwargs.get("input_ids"), kwargs.get("inputs_embeds"), *kwargs.values())
                 if isinstance(v, Tensor)), torch.zeros(1, 1))
    width = main.shape[1] if main.ndim > 1 else 1
    past = kwargs.get("past_key_values")
    offset = int(past.get_seq_length()) if past is not None and hasattr(past, "get_seq_length") else 0
    mask = kwargs.get("attention_mask")
    if isinstance(mask, Tensor) and mask.ndim == 2 and mask.shape[1] == offset + width:
        full = Frame.of_mask(mask)
        return Frame(full.start, full.stop, width, offset, growing=True)
    return replace(Frame.full(main.shape[0], width, offset), growing=True)
