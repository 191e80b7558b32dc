"""Induction by hand: a previous-token head in block 0 and an induction head in block 1.

Head 0.0 attends one position back and writes that token's identity to `prev`. Head 1.0 attends to the positions whose
`prev` is the current token and copies the token there to `out`; without a match it rests on `<bos>`, which has no value.
"""

import torch

from microtome.organisms.compiled.model import CompiledConfig, CompiledTransformer
from microtome.organisms.compiled.wiring import Head, Layout, assemble, roles, with_noise
from microtome.organisms.compiled.words import vocabulary, word_tokenizer
from microtome.organisms.truth import CircuitTruth
from microtome.stimuli.algorithmic.letters import LETTERS, repeats
from microtome.stimuli.task import Task

POSITIONS = 32
VOCAB = vocabulary(LETTERS)
LAYOUT = Layout(
    {"const": 1, "bos": 1, "token": len(LETTERS), "position": POSITIONS, "before": POSITIONS, "prev": len(LETTERS),
     "out": len(LETTERS)}
)  # fmt: skip
CONFIG = CompiledConfig(
    vocab_size=len(VOCAB), hidden_size=160, num_hidden_layers=2, num_attention_heads=4, head_dim=40,
    max_position_embeddings=POSITIONS,
)  # fmt: skip
LOGIT_SCALE = 10.0
RULES = [
    Head(0, 0, "previous token", (("before", "position", 20.0),), (("token", "prev", 1.0),)),
    Head(1, 0, "induction", (("token", "prev", 20.0), ("const", "bos", 10.0)), (("token", "out", 1.0),)),
]


def build() -> tuple[CompiledTransformer, object, CircuitTruth]:
    """The model, its tokenizer, and the circuit."""
    module = assemble(CONFIG, LAYOUT, RULES)
    embed(module)
    return module, word_tokenizer(VOCAB), truth()


def examples(n: int, seed: int = 0) -> Task:
    """Sequences that the circuit continues."""
    return repeats(n, seed)


def truth() -> CircuitTruth:
    """Roles, edges and subspaces."""
    edges = (("embed", "0.0"), ("embed", "1.0"), ("0.0", "1.0"), ("1.0", "logits"))
    return CircuitTruth(
        roles(RULES), edges, roles(with_noise(CONFIG, RULES)), LAYOUT.directions(CONFIG.hidden_size)
    )


@torch.no_grad()
def embed(module: CompiledTransformer) -> None:
    """Write embeddings and unembedding in place. Texts must start with `<bos>`."""
    wte, wpe, head = module.transformer.wte.weight, module.transformer.wpe.weight, module.lm_head.weight
    wte[:, LAYOUT["const"]] = 1.0
    wte[VOCAB["<bos>"], LAYOUT["bos"]] = 1.0
    for i, letter in enumerate(LETTERS):
        wte[VOCAB[letter], LAYOUT["token"].start + i] = 1.0
        head[VOCAB[letter], LAYOUT["out"].start + i] = LOGIT_SCALE
    at = torch.arange(POSITIONS)
    wpe[at, LAYOUT["position"].start + at] = 1.0
    wpe[at[1:], LAYOUT["before"].start + at[:-1]] = 1.0
