"""Vision transformer on generated scenes: the Hugging Face ViT at patch 4, width 64, four blocks of four heads."""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microtome.organisms import shelf
from microtome.organisms.fit import fit, seeded
from microtome.organisms.truth import SceneTruth
from microtome.organisms.vision import accuracy
from microtome.rng import derive
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.vision.scenes import CONCEPTS, SHAPES, layers, scenes

if TYPE_CHECKING:
    from transformers import ViTForImageClassification

NAME = "vision-vit"
STEPS, BATCH, CHUNK = 2000, 64, 2048
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
    "initializer_range": 0.08,
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
    """Train from scratch: (module, configuration, figures).

    A transformer this small does not find shapes from the label alone in minutes. Two kinds of helper heads, thrown
    away afterwards, show it where to look: each patch token predicts the object's mask in its patch, and the class token
    every concept. So all concepts are represented in the network, though only shape is its output.
    """
    module = seeded(lambda: make(CONFIG), seed, NAME)
    helpers = seeded(lambda: Helpers(CONFIG["hidden_size"]), seed, "vision-vit helpers")
    lesson = nn.ModuleDict({"module": module, "helpers": helpers})
    stock: dict[int, tuple[Any, ...]] = {}

    def loss(step: int) -> Tensor:
        number, at = divmod(step, CHUNK // BATCH)
        if number not in stock:
            stock.clear()
            stock[number] = lessons(derive(seed, "train", number))
        pixels, targets, patches = stock[number]
        rows = slice(at * BATCH, (at + 1) * BATCH)
        tokens = module.vit(pixels[rows]).last_hidden_state
        value = F.cross_entropy(module.classifier(tokens[:, 0]), targets["shape"][rows])
        value = value + 5.0 * F.binary_cross_entropy_with_logits(helpers.mask(tokens[:, 1:]), patches[rows])
        others = [F.cross_entropy(head(tokens[:, 0]), targets[name][rows]) for name, head in helpers.concepts.items()]
        return value + 0.3 * torch.stack(others).sum()

    fit(lesson, loss, STEPS, lr=2e-3, betas=(0.9, 0.99), warmup=50)
    return module.eval(), CONFIG, {"accuracy": accuracy(module)}


class Helpers(nn.Module):
    """Linear heads that only training needs."""

    def __init__(self, width: int):
        super().__init__()
        self.mask = nn.Linear(width, 16)
        others = {name: len(values) for name, values in CONCEPTS.items() if name != "shape"}
        self.concepts = nn.ModuleDict({name: nn.Linear(width, size) for name, size in others.items()})


def lessons(seed: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Pictures, concept codes, and the object's mask in each patch [n, 64 patches, 16 pixels]."""
    codes, drawn, inside, _ = layers(CHUNK, seed)
    patches = inside.reshape(-1, 8, 4, 8, 4).transpose(0, 1, 3, 2, 4).reshape(-1, 64, 16)
    targets = {name: torch.from_numpy(codes[name]) for name in CONCEPTS}
    return torch.from_numpy(drawn), targets, torch.from_numpy(patches.astype("float32"))
