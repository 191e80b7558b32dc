"""Generated pictures whose every concept, and all evidence, has a pixel mask."""

from microtome.stimuli.vision.entangled import entangled
from microtome.stimuli.vision.scenes import CONCEPTS, SHAPES, scenes, watermarked
from microtome.stimuli.vision.worlds import blocks, coloured_part, mosaics, panels

__all__ = ["CONCEPTS", "SHAPES", "blocks", "coloured_part", "entangled", "mosaics", "panels", "scenes", "watermarked"]
