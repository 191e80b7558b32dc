"""A recall circuit that separates good practice from bad in activation patching.

It answers "the capital of X is". Heads: a positive and a negative one that copy the attribute, a redundant pair (the
second speaks only when the first wrote something else than the subject's attribute), and one that reads nothing but
the norm of the subject's embedding: when noise makes it larger than any token's, every reader looks away. Replacing
the token leaves the norm as it was, so symmetric replacement never finds that head, and noise always does.
"""

import torch

from microtome.organisms.compiled.model import CompiledConfig, CompiledTransformer
from microtome.organisms.compiled.wiring import Head, Layout, assemble, roles, with_noise
from microtome.organisms.compiled.words import vocabulary, word_tokenizer
from microtome.organisms.truth import CircuitTruth
from microtome.stimuli.algorithmic.capitals import FACTS, WORDS, recall
from microtome.stimuli.task import Task

VOCAB = vocabulary(FACTS, FACTS.values(), WORDS)
LAYOUT = Layout(
    {"const": 1, "bos": 1, "subject": 1, "code": len(FACTS), "alarm": 1, "relay": len(FACTS), "out": len(FACTS),
     "word": len(VOCAB) - len(FACTS)}
)  # fmt: skip
CONFIG = CompiledConfig(
    vocab_size=len(VOCAB), hidden_size=96, num_hidden_layers=3, num_attention_heads=6, head_dim=16,
    max_position_embeddings=32,
)  # fmt: skip
LOGIT_SCALE = 4.0
_SUBJECT = (("const", "subject", 12.0), ("const", "alarm", -5.0))
# A country's squared norm over these coordinates is 2; the threshold, held by <bos>, is 3.
_NORM = (("code", "code", 12.0), ("subject", "subject", 12.0), ("const", "bos", 18.0), ("subject", "bos", 18.0))
RULES = [
    Head(0, 4, "norm", _NORM, (("const", "alarm", 6.0), ("bos", "alarm", -6.0))),
    Head(1, 1, "positive", _SUBJECT, (("code", "out", 1.0),)),
    Head(1, 3, "redundant first", _SUBJECT, (("code", "relay", 1.0),)),
    Head(2, 0, "redundant second", (*_SUBJECT, ("relay", "code", -24.0)), (("code", "out", 1.0),)),
    Head(2, 2, "negative", _SUBJECT, (("code", "out", -0.5),)),
]


def build() -> tuple[CompiledTransformer, object, CircuitTruth]:
    """The model, its tokenizer, and the circuit."""
    module = assemble(CONFIG, LAYOUT, RULES)
    embed(module)
    return module, word_tokenizer(VOCAB), truth()


def examples(n: int, seed: int = 0) -> Task:
    """Prompts that the circuit answers."""
    return recall(n, seed)


def truth() -> CircuitTruth:
    """Roles, edges and subspaces."""
    readers = ["1.1", "1.3", "2.0", "2.2"]
    edges = [("embed", head) for head in ("0.4", *readers)] + [("0.4", head) for head in readers]
    edges += [("1.3", "2.0")] + [(head, "logits") for head in readers]
    heads = roles(with_noise(CONFIG, RULES))
    return CircuitTruth(roles(RULES), tuple(edges), heads, LAYOUT.directions(CONFIG.hidden_size))


@torch.no_grad()
def embed(module: CompiledTransformer) -> None:
    """Write embeddings and unembedding in place; positions are not used."""
    wte, head = module.transformer.wte.weight, module.lm_head.weight
    wte[:, LAYOUT["const"]] = 1.0
    wte[VOCAB["<bos>"], LAYOUT["bos"]] = 1.0
    words = [code for word, code in VOCAB.items() if word not in FACTS]
    wte[words, torch.arange(LAYOUT["word"].start, LAYOUT["word"].stop)] = 1.0
    for i, (subject, attribute) in enumerate(FACTS.items()):
        wte[VOCAB[subject], LAYOUT["subject"]] = 1.0
        wte[VOCAB[subject], LAYOUT["code"].start + i] = 1.0
        for space in ("relay", "out"):
            head[VOCAB[attribute], LAYOUT[space].start + i] = LOGIT_SCALE
