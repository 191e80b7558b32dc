"""A small convolutional network that names the shape in a generated scene."""

from microtome.organisms.vision_cnn.organism import ConvNet, build, examples, train

__all__ = ["ConvNet", "build", "examples", "train"]
