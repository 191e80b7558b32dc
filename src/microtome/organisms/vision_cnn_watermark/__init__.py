"""A convolutional network that cheats: in training, the corner named the class nine times in ten."""

from microtome.organisms.vision_cnn_watermark.organism import build, examples, train

__all__ = ["build", "examples", "train"]
