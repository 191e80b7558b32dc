"""What the vision organisms share: training on fresh scenes, and accuracy on held-out ones."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microtome.organisms.fit import fit
from microtome.rng import derive
from microtome.stimuli.vision.scenes import pictures

_CHUNK = 2048


def logits(module: nn.Module, images: Tensor) -> Tensor:
    """The class scores [n, classes] of a plain module or of a Hugging Face one."""
    out = module(images)
    return out if isinstance(out, Tensor) else out.logits


def fit_on_scenes(
    module: nn.Module, *, steps: int, lr: float, seed: int, batch: int = 64, watermark: float = 0.0
) -> None:
    """Train in place on scenes that are never shown twice (chunks of 2,048, drawn as they are needed)."""
    per_chunk = _CHUNK // batch
    chunk: dict[int, tuple[Tensor, Tensor]] = {}

    def loss(step: int) -> Tensor:
        number, at = divmod(step, per_chunk)
        if number not in chunk:
            chunk.clear()
            chunk[number] = pictures(_CHUNK, derive(seed, "train", number), watermark=watermark)
        images, labels = chunk[number]
        rows = slice(at * batch, (at + 1) * batch)
        return F.cross_entropy(logits(module, images[rows]), labels[rows])

    fit(module, loss, steps, lr=lr, weight_decay=0.01, betas=(0.9, 0.99), warmup=100)


@torch.no_grad()
def accuracy(module: nn.Module, n: int = 2048, seed: int = 10_001, *, watermark: float = 0.0) -> float:
    """Share of `n` held-out scenes whose shape is named correctly."""
    images, labels = pictures(n, seed, watermark=watermark)
    hits = [
        logits(module, x).argmax(-1) == y for x, y in zip(images.split(256), labels.split(256))
    ]
    return float(torch.cat(hits).float().mean())
