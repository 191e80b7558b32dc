"""Convolutional network on generated scenes: four convolutions, named modules, no normalisation layers."""

from typing import Any

from torch import Tensor, nn

from microtome.organisms import shelf
from microtome.organisms.fit import seeded
from microtome.organisms.truth import SceneTruth
from microtome.organisms.vision import accuracy, fit_on_scenes
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.vision.scenes import SHAPES, scenes

NAME = "vision-cnn"
CONFIG = {"model_type": "microtome_convnet", "channels": [16, 24, 40, 64], "classes": len(SHAPES)}


class ConvNet(nn.Module):
    """Four 3 x 3 convolutions with ReLU (`conv1..4`, `relu1..4`), max-pooled between, global mean, `classifier`.

    Input float [n, 3, 32, 32] in [0, 1]; output logits [n, classes].
    """

    def __init__(self, channels: list[int], classes: int):
        super().__init__()
        a, b, c, d = channels
        self.conv1 = nn.Conv2d(3, a, 3, padding=1)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(a, b, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(b, c, 3, padding=1)
        self.relu3 = nn.ReLU()
        self.conv4 = nn.Conv2d(c, d, 3, padding=1)
        self.relu4 = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(d, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.pool1(self.relu1(self.conv1(pixels)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = self.relu4(self.conv4(self.relu3(self.conv3(x))))
        return self.classifier(self.flatten(self.pool(x)))


def make(config: dict[str, Any]) -> ConvNet:
    """An untrained network of the shipped size."""
    return ConvNet(config["channels"], config["classes"])


def build() -> tuple[ConvNet, None, SceneTruth]:
    """The trained network, no tokenizer, and what it was trained on."""
    return shelf.fill(NAME, seeded(lambda: make(shelf.config(NAME)), 0, NAME)), None, SceneTruth.of_shape()  # type: ignore[return-value]


def examples(n: int, seed: int = 0) -> Stimuli:
    """Scenes from the distribution the network was trained on."""
    return scenes(n, seed)


def train(seed: int = 0) -> tuple[ConvNet, dict[str, Any], dict[str, float]]:
    """Train from scratch: (module, configuration, figures)."""
    module = seeded(lambda: make(CONFIG), seed, NAME)
    fit_on_scenes(module, steps=3200, lr=3e-3, seed=seed)
    return module, CONFIG, {"accuracy": accuracy(module)}
