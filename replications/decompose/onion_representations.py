"""Csordás et al. (2024): small recurrent networks store sequences by order of magnitude.

A GRU of 48 units reads up to four of eight tokens and repeats them. `onion_representations` exchanges one token in its state:
by one table of embeddings whose scale depends on the position, or by learnt subspaces of positions or of pairs. The network
obeys the onion on most held-out sequences, subspaces of positions on a fifth and those of pairs on about half, although these
have more than three times the parameters. The readers are checked on states whose form is known: a sum of embeddings on a scale
of 0.3^j in eight dimensions, which no linear reader opens beyond the first position and peeling opens everywhere, and
embeddings side by side, which a linear reader opens.

Honest limits. One size, sequences of four, eight tokens; the paper goes to nine of thirty, and to 1024 units, where subspaces
begin to work. The schedule of scales is a geometric one with free corrections, not the paper's own.

Nulls: the untrained network; the linear reader and peeling for each other, on states where the other one must fail.

https://arxiv.org/abs/2408.10920
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from microtome.decompose import onion_representations
from microtome.decompose.onion import linear_read, peel, tables
from microtome.organisms.fit import fit, seeded
from microtome.organisms.recurrent import TokenRecurrent
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.subject.recording import Recording

CATALOG = ("decompose", 100)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.onion_representations", "microtome.decompose.onion")
WORDS, LENGTH, WIDTH, STEPS, BATCH, ROWS = 8, 4, 48, 800, 128, 2000
CHANCE = 1 / WORDS

CLAIMS = [
    Claim("the network repeats sequences exactly", "repeats", 0.95, null="untrained_repeats"),
    Claim("onion exchanges are obeyed exactly, more often than those of positions' subspaces", "margin", 0.1,
          null="untrained_margin"),
    Claim("and than those of pairs' subspaces", "bigram_margin", 0.1, null="untrained_bigram_margin"),
    Claim("an untrained network obeys none (the best of three)", "untrained_best", 0.05, "<=", null="onion"),
    Claim("a planted onion: peeled at every position (the worst)", "planted_peel", 0.95, null="planted_linear"),
    Claim("a planted onion: read linearly beyond the first position (the best)", "planted_linear", CHANCE + 0.1, "<=",
          null="planted_peel"),
    Claim("tokens side by side: read linearly at every position (the worst)", "side_by_side", 0.99, null="planted_linear"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train, exchange tokens, do the same without training, and check the readers."""
    g = torch_rng(seed, "sequences")
    x = torch.randint(0, WORDS, (ROWS, LENGTH), generator=g)
    found = {name: _exchanges(network, x, seed) for name, network in (("trained", trained(seed)), ("twin", copier(seed)))}
    real, twin = (f.controls | {"onion": f.estimate.value} for f in found.values())
    table = found["trained"].table
    onion = (0.3 ** torch.arange(LENGTH)[:, None] * torch.randn(WORDS, 8, generator=g)[x]).sum(1).double()
    apart = torch.cat([torch.randn(WORDS, WORDS, generator=g)[x[:, j]] for j in range(LENGTH)], 1)
    peeled, linear, side = _peel(onion, x), _linear(onion, x), _linear(apart, x)
    return {
        "repeats": real["clean"], "untrained_repeats": twin["clean"],
        "margin": real["onion"] - real["unigram"], "untrained_margin": twin["onion"] - twin["unigram"],
        "bigram_margin": real["onion"] - real["bigram"], "untrained_bigram_margin": twin["onion"] - twin["bigram"],
        "onion": real["onion"], "unigram": real["unigram"], "bigram": real["bigram"],
        "untrained_best": max(twin["onion"], twin["unigram"], twin["bigram"]),
        "planted_peel": float(peeled.min()), "planted_linear": float(linear[1:].max()), "side_by_side": float(side.min()),
        "onion_parameters": real["onion_parameters"], "unigram_parameters": real["unigram_parameters"],
        "linear_first": table["linear"][0], "linear_worst": table["linear"].min(), "peel_worst": table["peel"].min(),
        "p": max(null.p for null in found["trained"].nulls),
    }  # fmt: skip


def _exchanges(network: TokenRecurrent, x: Tensor, seed: int):
    """The finding on the network's states after reading."""
    with torch.no_grad():
        states = network.rnn(network.embed(x))[1][0]
    return onion_representations(Recording.of(states, site="rnn"), x.numpy(), writes(network), draws=19, seed=seed)


def copier(seed: int) -> TokenRecurrent:
    """An untrained one; the last token asks for the answer."""
    return seeded(lambda: TokenRecurrent("gru", 16, WIDTH, WORDS, WORDS + 1), seed, "copier").eval()


def trained(seed: int) -> TokenRecurrent:
    """Repeat one to four tokens, told the one before."""
    network, g = copier(seed), torch_rng(seed, "copies")

    def loss(step: int) -> Tensor:
        length = LENGTH if step % 2 else int(torch.randint(1, LENGTH + 1, (1,), generator=g))
        x = torch.randint(0, WORDS, (BATCH, length), generator=g)
        logits = network(torch.cat([x, torch.full_like(x[:, :1], WORDS), x[:, :-1]], 1))[:, length:]
        return nn.functional.cross_entropy(logits.flatten(0, 1), x.flatten())

    fit(network, loss, STEPS, lr=5e-3, weight_decay=0.0)
    return network


def writes(network: TokenRecurrent) -> Callable[[Tensor, Tensor], Tensor]:
    """What the network writes from a state."""

    def decode(states: Tensor, tokens: Tensor) -> Tensor:
        before = torch.cat([torch.full_like(tokens[:, :1], WORDS), tokens[:, :-1]], 1)
        return network.readout(network.rnn(network.embed(before), states[None])[0])

    return decode


def _peel(states: Tensor, x: Tensor) -> Tensor:
    """Accuracy by position on the second half, read from the outside inwards."""
    half = len(x) // 2
    return (peel(states[half:], *tables(states[:half], x[:half])) == x[half:]).double().mean(0)


def _linear(states: Tensor, x: Tensor) -> Tensor:
    """The same of a least-squares reader."""
    half = len(x) // 2
    return (linear_read(states[:half], x[:half], states[half:]) == x[half:]).double().mean(0)
