"""Indirect objects by hand: 2 upstream heads, 2 movers, a negative mover, a backup mover, 6 noise heads.

Block 0: the S-inhibition head attends to the last name (by recency) and writes its identity to `inhibit`; the tagger
attends from each name to itself and writes its identity to `tag`. Block 1: the movers attend to names, less where tag
and inhibition agree (so neither upstream head does anything without the other), and write the name to `written`.
Block 2: the negative mover does the same with a minus; the backup attends to names that are neither inhibited nor written
yet by both movers, so it stays on words without value until a mover fails (itself, or for want of an upstream head), and
then takes its place.
"""

import torch

from microtome.organisms.compiled.model import CompiledConfig, CompiledTransformer
from microtome.organisms.compiled.wiring import Head, Layout, assemble, roles, with_noise
from microtome.organisms.compiled.words import vocabulary, word_tokenizer
from microtome.organisms.truth import CircuitTruth
from microtome.stimuli.algorithmic.indirect import NAMES, WORDS, indirect_object
from microtome.stimuli.task import Task

VOCAB = vocabulary(NAMES, WORDS)
LAYOUT = Layout(
    {"const": 1, "name": 1, "recency": 1, "id": len(NAMES), "inhibit": len(NAMES), "tag": len(NAMES),
     "written": len(NAMES), "word": len(VOCAB) - len(NAMES)}
)  # fmt: skip
CONFIG = CompiledConfig(
    vocab_size=len(VOCAB), hidden_size=112, num_hidden_layers=3, num_attention_heads=4, head_dim=28,
    max_position_embeddings=32,
)  # fmt: skip
LOGIT_SCALE = 4.0
_LAST_NAME = (("const", "name", 60.0), ("const", "recency", 48.0))
_SAME_NAME = (("id", "id", 20.0),)
_FREE_NAME = (("const", "name", 10.0), ("inhibit", "tag", -4.0))
# Off while both movers have written the name (24 - 2 * 16), on when one has not (24 - 16), never for the subject.
_UNWRITTEN = (("const", "name", 24.0), ("written", "tag", -16.0), ("inhibit", "tag", -64.0))
RULES = [
    Head(0, 1, "s-inhibition", _LAST_NAME, (("id", "inhibit", 1.0),)),
    Head(0, 3, "tagger", _SAME_NAME, (("id", "tag", 1.0),)),
    Head(1, 0, "mover", _FREE_NAME, (("id", "written", 1.0),)),
    Head(1, 2, "mover", _FREE_NAME, (("id", "written", 1.0),)),
    Head(2, 1, "negative mover", _FREE_NAME, (("id", "written", -0.5),)),
    Head(2, 3, "backup mover", _UNWRITTEN, (("id", "written", 1.0),)),
]


def build() -> tuple[CompiledTransformer, object, CircuitTruth]:
    """The model, its tokenizer, and the circuit."""
    module = assemble(CONFIG, LAYOUT, RULES)
    embed(module)
    return module, word_tokenizer(VOCAB), truth()


def examples(n: int, seed: int = 0) -> Task:
    """Prompts that the circuit solves."""
    return indirect_object(n, seed)


def truth() -> CircuitTruth:
    """Roles, edges and subspaces."""
    early, movers, late = ["0.1", "0.3"], ["1.0", "1.2"], ["2.1", "2.3"]
    edges = [("embed", head) for head in early + movers + late]
    edges += [(sender, receiver) for sender in early for receiver in movers + late]
    edges += [(mover, "2.3") for mover in movers] + [(head, "logits") for head in movers + late]
    heads = roles(with_noise(CONFIG, RULES))
    return CircuitTruth(roles(RULES), tuple(edges), heads, LAYOUT.directions(CONFIG.hidden_size))


@torch.no_grad()
def embed(module: CompiledTransformer) -> None:
    """Write embeddings and unembedding in place."""
    wte, wpe, head = module.transformer.wte.weight, module.transformer.wpe.weight, module.lm_head.weight
    wte[:, LAYOUT["const"]] = 1.0
    words = [code for word, code in VOCAB.items() if word not in NAMES]
    wte[words, torch.arange(LAYOUT["word"].start, LAYOUT["word"].stop)] = 1.0
    for i, name in enumerate(NAMES):
        wte[VOCAB[name], LAYOUT["name"]] = 1.0
        wte[VOCAB[name], LAYOUT["id"].start + i] = 1.0
        head[VOCAB[name], LAYOUT["written"].start + i] = LOGIT_SCALE
    # An eighth per position: scores use 48 of it, so the last name wins by at least 6 per word.
    wpe[:, LAYOUT["recency"].start] = torch.arange(len(wpe)) / 8.0
