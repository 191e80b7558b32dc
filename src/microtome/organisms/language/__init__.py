"""A small Llama that masters a generated language: see `microtome.stimuli.language` for its world."""

from microtome.organisms.language.organism import build, examples, train
from microtome.organisms.language.truth import LanguageTruth

__all__ = ["LanguageTruth", "build", "examples", "train"]
