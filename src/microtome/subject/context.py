"""Edits that stay on for a while: a context around any calls of the module, generation with its cache included."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from microtome.errors import UsageError
from microtome.subject.apply import Count
from microtome.subject.edit import Edit
from microtome.subject.frame import Frame
from microtome.subject.hooks import attached
from microtome.subject.run import check_edits, refuse_idle, taps_for
from microtome.subject.site import Site

if TYPE_CHECKING:
    from microtome.subject.subject import Subject


@contextmanager
def editing(subject: "Subject", edits: Sequence[Edit]) -> Iterator[None]:
    """See `Subject.edit`."""
    check_edits(subject, edits)
    for edit in edits:
        if edit.op in ("mean", "resample", "clean"):
            raise UsageError(
                f"{edit}: inside a context there is no unedited run to measure '{edit.op}' on. Give value=, or use "
                "subject.run(inputs, edits=[...])."
            )
    counts = [Count() for _ in edits]
    current: dict[str, Frame] = {}
    # An encoder is called by itself before generation, and a decoder has its own tokens: each tower tells its own frame.
    towers = {t.stack.name: t.blocks.rpartition(".")[0] for t in subject.trunks if t.stack.name}

    def look(stack: str):
        calls = _Calls()

        def note(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            current[stack] = calls.frame(args, kwargs)

        return note

    def frame(site: Site) -> Frame:
        return current.get(site.stack) or current.get("") or UNKNOWN

    with ExitStack() as stack:
        for name, path in {"": "", **towers}.items():
            handle = subject.module.get_submodule(path).register_forward_pre_hook(look(name), with_kwargs=True)
            stack.callback(handle.remove)
        stack.enter_context(attached(subject.module, list(taps_for(subject, edits, counts).values()), frame))
        yield
    refuse_idle(edits, counts)


#: A module called by itself: its own width counts, without padding.
UNKNOWN = Frame(torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), -1, 0, growing=True)


class _Calls:
    """Frames of successive calls. A model that carries a state (Mamba) is not told how far it is: it is counted here."""

    def __init__(self) -> None:
        self.state: Any = None
        self.last = UNKNOWN

    def frame(self, args: tuple, kwargs: dict[str, Any]) -> Frame:
        """The frame of the call that is about to be made."""
        frame, state = frame_of_call(args, kwargs), kwargs.get("cache_params")
        if state is not None and state is self.state:
            last = self.last
            frame = Frame(last.start, last.stop + frame.length, frame.length, last.offset + last.length, growing=True)
        self.state, self.last = state, frame
        return frame


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
