"""Remake the language organism in a folder of its own: ``python -m microtome.organisms.language --out DIR``."""

import argparse
import logging
import time
from pathlib import Path

from microtome import io
from microtome.organisms.fit import parameters
from microtome.organisms.language.network import build_tokenizer
from microtome.organisms.language.training import train
from microtome.organisms.shelf import FIGURES
from microtome.stimuli.language import vocabulary


def main() -> None:
    """Train, and write a folder that `transformers` loads too: weights, configuration, tokenizer and figures."""
    parser = argparse.ArgumentParser(description="Train the language organism.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    start = time.perf_counter()
    network, _, figures = train(given.seed, given.out)
    network.save_pretrained(given.out)
    build_tokenizer(vocabulary()).save_pretrained(given.out)
    made = {"parameters": parameters(network), "seconds": round(time.perf_counter() - start, 1), "seed": given.seed}
    io.write_json(given.out / FIGURES, {**figures, **made})


if __name__ == "__main__":
    main()
