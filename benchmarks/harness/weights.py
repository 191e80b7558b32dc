"""The random GPT-2 that every side loads, saved once as a Hugging Face folder: ``python weights.py FOLDER VOCABULARY``."""

import sys
from pathlib import Path

BLOCKS, HEADS, WIDTH, POSITIONS = 6, 6, 384, 256


def main(folder: str, vocabulary: int) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    # Twice the usual spread of the weights, so that patches have effects well above rounding.
    config = GPT2Config(
        vocab_size=vocabulary, n_embd=WIDTH, n_layer=BLOCKS, n_head=HEADS, n_positions=POSITIONS, initializer_range=0.04,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)


if __name__ == "__main__":
    main(str(Path(sys.argv[1])), int(sys.argv[2]))
