"""A tiny vision transformer that names the shape in a generated scene."""

from microtome.organisms.vision_vit.organism import build, examples, train

__all__ = ["build", "examples", "train"]
