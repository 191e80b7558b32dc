"""A planted network: one attention head copies one token to the answer, and nothing else happens."""

from dataclasses import dataclass

import torch

from microtome.rng import rng, torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

BLOCKS, HEADS, D_HEAD, LENGTH, KEYS, VOCAB = 2, 4, 8, 5, 8, 16
D_MODEL = HEADS * D_HEAD
#: Where things stand in the residual stream: key token, position, answer, filler token.
KEY, PLACE, ANSWER, FILLER = 0, 8, 16, 24


@dataclass(frozen=True)
class PlantedNetwork:
    """A subject, the task it does, and how.

    Attributes
    ----------
    subject : Subject
        A GPT-2 of 2 blocks, 4 heads, width 32, 16 tokens.
    task : Task
        Five tokens, of which the one at `position` is the answer; the counterfactual has another token there.
    block, head : int
        The head that moves the token.
    position : int
        Where it reads it; it writes at the last position, 4.
    """

    subject: Subject
    task: Task
    block: int
    head: int
    position: int


def planted_network(seed: int, *, structured: bool = True, n: int = 12) -> PlantedNetwork:
    """A planted network; with ``structured=False`` freshly drawn weights beside the same task and the same truth.

    Parameters
    ----------
    seed : int
        Draws block, head, position, the noise in all other weights, and the prompts.
    structured : bool, default True
        Whether the head is written into the weights.
    n : int, default 12
        Number of prompts.

    Returns
    -------
    PlantedNetwork
    """
    draw = rng(seed, "planted network")
    block, head, position = int(draw.integers(BLOCKS)), int(draw.integers(HEADS)), int(draw.integers(LENGTH - 1))
    module = _random_network(seed, 0.02 if structured else 0.2)
    if structured:
        with torch.no_grad():
            _write(module, block, head, position)
    return PlantedNetwork(Subject(module, name="planted"), _task(seed, position, n), block, head, position)


def _random_network(seed: int, scale: float) -> torch.nn.Module:
    """A GPT-2 whose every matrix is noise of the given scale."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCAB, n_positions=8, n_embd=D_MODEL, n_layer=BLOCKS, n_head=HEADS, tie_word_embeddings=False,
        bos_token_id=None, eos_token_id=None, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        module = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.ndim == 2:
                p.copy_(scale * torch.randn(p.shape, generator=torch_rng(seed, "planted network", name)))
    return module


def _write(module: torch.nn.Module, block: int, head: int, position: int) -> None:
    """Write the circuit: embeddings, one head's query, key, value and output, and the unembedding."""
    trunk = module.transformer
    eye = torch.eye(KEYS)
    trunk.wte.weight[:KEYS, KEY : KEY + KEYS] += eye
    trunk.wte.weight[KEYS:, FILLER : FILLER + KEYS] += eye
    trunk.wpe.weight[:, PLACE : PLACE + 8] += eye
    attention = trunk.h[block].attn
    first = head * D_HEAD
    columns = attention.c_attn.weight  # [d, 3 d]: query, key, value
    columns[PLACE + LENGTH - 1, first] += 1.5
    columns[PLACE + position, D_MODEL + first] += 1.5
    columns[KEY : KEY + KEYS, 2 * D_MODEL + first : 2 * D_MODEL + first + D_HEAD] += eye
    attention.c_proj.weight[first : first + D_HEAD, ANSWER : ANSWER + KEYS] += eye
    module.lm_head.weight[:KEYS, ANSWER : ANSWER + KEYS] += eye


def _task(seed: int, position: int, n: int) -> Task:
    draw = rng(seed, "planted network", "prompts")
    clean = draw.integers(KEYS, VOCAB, (n, LENGTH))
    answers = draw.integers(KEYS, size=n)
    wrong = (answers + draw.integers(1, KEYS, n)) % KEYS
    clean[:, position] = answers
    corrupt = clean.copy()
    corrupt[:, position] = wrong
    tensors = [torch.from_numpy(a) for a in (clean, corrupt, answers, wrong)]
    roles = {"key": [(position, position + 1)] * n}
    return Task("copy a token", *tensors, roles=roles, kind="tokens", groups=list(range(n)))
