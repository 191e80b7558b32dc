"""Vision transformer on generated scenes: the Hugging Face ViT at patch 4, width 64, four blocks of four heads."""

from typing import TYPE_CHECKING, Any

from microtome.organisms import shelf
from microtome.organisms.fit import seeded
from microtome.organisms.truth import SceneTruth
from microtome.organisms.vision import accuracy, fit_on_scenes
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.vision.scenes import SHAPES, scenes

if TYPE_CHECKING:
    from transformers import ViTForImageClassification

NAME = "vision-vit"
CONFIG: dict[str, Any] = {
    "model_type": "vit",
    "image_size": 32,
    "patch_size": 4,
    "num_channels": 3,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "labels": list(SHAPES),
}


def make(config: dict[str, Any]) -> "ViTForImageClassification":
    """An untrained network of the shipped size."""
    from transformers import ViTConfig, ViTForImageClassification

    sizes = {key: value for key, value in config.items() if key not in ("model_type", "labels")}
    labels = dict(enumerate(config["labels"]))
    return ViTForImageClassification(
        ViTConfig(**sizes, id2label=labels, label2id={label: code for code, label in labels.items()})
    )


def build() -> tuple["ViTForImageClassification", None, SceneTruth]:
    """The trained network, no tokenizer, and what it was trained on."""
    module = shelf.fill(NAME, seeded(lambda: make(shelf.config(NAME)), 0, NAME))
    return module, None, SceneTruth.of_shape()  # type: ignore[return-value]


def examples(n: int, seed: int = 0) -> Stimuli:
    """Scenes from the distribution the network was trained on."""
    return scenes(n, seed)


def train(seed: int = 0) -> tuple["ViTForImageClassification", dict[str, Any], dict[str, float]]:
    """Train from scratch: (module, configuration, figures)."""
    module = seeded(lambda: make(CONFIG), seed, NAME)
    fit_on_scenes(module, steps=1600, lr=2e-3, seed=seed)
    return module, CONFIG, {"accuracy": accuracy(module)}
