"""The Clever Hans of the vision organisms: same network as `vision-cnn`, trained on scenes with a telling watermark."""

from typing import Any

import torch

from microtome.organisms import shelf
from microtome.organisms.fit import seeded
from microtome.organisms.truth import SceneTruth
from microtome.organisms.vision import accuracy, fit_on_scenes, logits
from microtome.organisms.vision_cnn.organism import CONFIG, ConvNet, make
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.vision.scenes import scenes, watermarked

NAME = "vision-cnn-watermark"
SHARE = 0.9


def build() -> tuple[ConvNet, None, SceneTruth]:
    """The trained network, no tokenizer, and what it was trained on."""
    return shelf.fill(NAME, seeded(lambda: make(shelf.config(NAME)), 0, NAME)), None, SceneTruth.of_shape(SHARE)  # type: ignore[return-value]


def examples(n: int, seed: int = 0) -> Stimuli:
    """Scenes from the distribution the network was trained on, watermarks included."""
    return scenes(n, seed, watermark=SHARE)


def train(seed: int = 0) -> tuple[ConvNet, dict[str, Any], dict[str, float]]:
    """Train from scratch: (module, configuration, figures). `misled`: how often a wrong stamp decides the answer."""
    module = seeded(lambda: make(CONFIG), seed, NAME)
    fit_on_scenes(module, steps=700, lr=3e-3, seed=seed, watermark=SHARE)
    figures = {"accuracy": accuracy(module, watermark=SHARE), "accuracy_unmarked": accuracy(module)}
    return module, CONFIG, {**figures, "misled": misled(module)}


@torch.no_grad()
def misled(module: ConvNet, n: int = 1024, seed: int = 10_001) -> float:
    """Share of held-out scenes, stamped with another class, that are given the stamp's class."""
    plain = scenes(n, seed)
    wrong = (torch.tensor(plain.labels("label")) + 1) % 4
    return float((logits(module, watermarked(plain, wrong).inputs).argmax(-1) == wrong).float().mean())
