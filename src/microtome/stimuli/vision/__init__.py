"""Generated pictures whose every concept has a pixel mask."""

from microtome.stimuli.vision.scenes import CONCEPTS, SHAPES, scenes, watermarked

__all__ = ["CONCEPTS", "SHAPES", "scenes", "watermarked"]
