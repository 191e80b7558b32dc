"""The same inputs for every side, drawn with numpy so that no library's generator matters."""

import numpy as np
import torch
from torch import Tensor

BLOCKS, HEADS = 6, 6


def tokens(settings: dict, name: int = 0, rows: int | None = None) -> Tensor:
    """Random token ids [batch, length]; `name` picks the draw."""
    draw = np.random.default_rng([name, settings["length"]])
    return torch.from_numpy(draw.integers(1, settings["vocabulary"], (rows or settings["batch"], settings["length"])))


def answers(settings: dict) -> tuple[Tensor, Tensor]:
    """Right and wrong answer ids [batch], different ones."""
    draw = np.random.default_rng(7)
    right = draw.integers(1, settings["vocabulary"], settings["batch"])
    return torch.from_numpy(right), torch.from_numpy(right % (settings["vocabulary"] - 1) + 1)


def mean_difference(logits: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """Logit difference at the last position, mean over the batch; logits [batch, length, vocabulary]."""
    last = logits[:, -1]
    return (last.gather(-1, right[:, None]) - last.gather(-1, wrong[:, None])).mean()


def sampled(total: int, count: int | None) -> list[int]:
    """`count` of `total` positions, evenly spaced and with both ends; all when count is None."""
    if count is None or count >= total:
        return list(range(total))
    return sorted({round(i * (total - 1) / max(1, count - 1)) for i in range(count)})


def load(settings: dict):
    """The unmodified Hugging Face model: float32, eager attention (the form every library here computes)."""
    from transformers import AutoModelForCausalLM

    # The option for the dtype has another name in older versions of transformers.
    return AutoModelForCausalLM.from_pretrained(settings["model"], attn_implementation="eager").float().eval()


def blocks(tensors) -> dict[str, np.ndarray]:
    """Residual streams by block, as outputs to compare."""
    return {f"block{i}": t.detach().numpy() for i, t in enumerate(tensors)}


def note(count: int, total: int) -> str:
    """What a row says when a sample of the effects was timed."""
    return f"{count} of {total} effects timed, evenly spaced" if count < total else ""
