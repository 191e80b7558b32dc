"""Does a recurrent network store a sequence in subspaces, or by magnitude, in the layers of an onion?"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.data import survey
from microtome.decompose.onion import (
    Bigrams,
    Decode,
    Onion,
    Unigrams,
    draw,
    exact,
    fit_change,
    linear_read,
    peel,
    tables,
    targets,
)  # fmt: skip
from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.evidence import Finding, Null, Provenance, bootstrap
from microtome.method import Paper, method
from microtome.rng import rng, torch_rng
from microtome.subject.recording.halves import halves

#: Sequences that are needed.
FEWEST = 40
HYPOTHESES = {"onion": Onion, "unigram": Unigrams, "bigram": Bigrams}


@method(
    question="decompose",
    paper=Paper(
        "Csordás et al.", 2024, "Recurrent Neural Networks Learn to Store and Generate Sequences using Non-Linear "
        "Representations", "https://arxiv.org/abs/2408.10920",
    ),
    needs=("recording", "labels", "gradients"),
    gives="Finding",
    stochastic=True,
    cost="3 steps * batch sequences decoded forwards and backwards, then (4 + draws) * rows decoded",
    claim="Small recurrent networks store sequences by order of magnitude: onion interventions work where linear ones fail.",
    notion="decomposability",
    serves="causality",
    cannot_claim="That no other change of the state would do; each hypothesis is judged by the best fit found.",
    tiny={"steps": 150, "batch": 64, "draws": 39},
)  # fmt: skip
def onion_representations(
    recording: Any, tokens: Any, decode: Decode, *, steps: int = 600, batch: int = 128, lr: float = 1e-2, draws: int = 99,
    seed: int = 0,
) -> Finding:  # fmt: skip
    """Fit three interventions that exchange one token of a stored sequence, and see which the network obeys.

    Onion: ``h' = h + s_j (E[b] - E[a])``, ``s_j = g gamma^j + c_j``, one table E for all positions. Unigram: the part of h in a
    learnt subspace of position j is taken from another sequence that has b there. Bigram: the same for pairs of neighbours.
    Each is fitted on one half of the sequences, through the frozen network, and judged on the other: is the whole sequence
    written with b, and only b, in place of a?

    Parameters
    ----------
    recording : Recording
        One site: the state after reading, a row per sequence.
    tokens : int array [rows, length]
        What was read.
    decode : callable
        ``decode(states [m, d], tokens [m, length]) -> logits [m, length, vocab]``, differentiable in the states: the network
        writes the sequence, told at each step the token before. States come in float32.
    steps, batch, lr : int, int, float
        Of each fit (Adam, cosine). Default 600 of 128 at 0.01.
    draws : int
        Draws of each null. Default 99.
    seed : int
        Of halves, starts, batches and nulls. Default 0.

    Returns
    -------
    Finding
        The claim: the onion works, and better than subspaces of positions. Estimate: share of held-out exchanges that the onion
        gets exactly right. Table, a row per position: onion, unigram, bigram (the same share for exchanges there), linear
        (accuracy of a least-squares reader), peel (accuracy when read layer by layer, `onion.peel`), magnitude (of the layer).
        Controls: unigram, bigram, clean (sequences that are written as read), and the parameters of each.

    Raises
    ------
    UsageError
        A size below 1.
    ShapeError
        Tokens that do not fit the rows, or logits that do not fit the tokens.
    NonFinite
        When the recording or a fit gives NaN or infinity.
    Degenerate
        With fewer than 40 sequences, two positions or two tokens, or when the states do not vary.

    Notes
    -----
    Null: rows of the table E exchanged between tokens; and the outcomes of onion and unigram exchanged per sequence. A network
    that was not trained writes nothing right under any of them, and neither null is beaten.
    Misleads when a capable intervention breaks the network's way rather than following it: compare the parameters, and run
    it on an untrained network. Table and scales are the onion's; a state of another non-linear kind fails all three.

    Examples
    --------
    >>> from microtome.testing.worlds.onion_representations import planted_onion
    >>> recording, tokens, decode = planted_onion(0)
    >>> found = onion_representations(recording, tokens, decode, steps=150, batch=64, draws=39)
    >>> found.verdict, bool(found.estimate.value > found.controls["unigram"] + 0.5)
    ('supported', True)

    References
    ----------
    Csordás et al. (2024). Recurrent Neural Networks Learn to Store and Generate Sequences using Non-Linear Representations.
    https://arxiv.org/abs/2408.10920
    """
    if min(steps, batch, draws) < 1 or not lr > 0:
        raise UsageError(f"steps, batch and draws >= 1 and lr > 0 are needed, got {steps, batch, draws, lr}.")
    about = survey(recording)
    x = recording.matrix().float()
    read = _tokens(tokens, x)
    first = torch.from_numpy(halves(recording, 0.5, seed)[0]).to(x.device)
    fitted, judged = (x[first], read[first]), (x[~first], read[~first])
    _try(decode, *judged)
    g = torch_rng(seed, "decompose", "onion_representations")
    base, source, place = draw(judged[1], len(judged[1]), g)
    goal = targets(judged[1], base, source, place)
    hits, sizes, changes = {}, {}, {}
    for name, kind in HYPOTHESES.items():
        change = changes[name] = kind(read, x.shape[1], g).to(x.device)
        fit_change(change, *fitted, decode, steps=steps, batch=batch, lr=lr, seed=seed)
        sizes[f"{name}_parameters"] = float(sum(p.numel() for p in change.parameters()))
        with torch.no_grad():
            states = change(*judged, base, source, place)
        if not bool(torch.isfinite(states).all()):
            raise NonFinite(f"the fit of the {name} intervention diverged; lower lr.")
        hits[name] = exact(states, goal, decode).double().cpu().numpy()
    stream = rng(seed, "decompose", "onion_representations")
    exchanged = _exchanged(changes["onion"], judged, (base, source, place), goal, decode, draws, stream)
    margin = hits["onion"] - hits["unigram"]
    flipped = (stream.choice([-1.0, 1.0], (draws, len(margin))) * margin).mean(1)
    nulls = (
        Null("rows of the onion's table exchanged between tokens", exchanged, float(hits["onion"].mean())),
        Null("onion and unigram exchanged per sequence", flipped, float(margin.mean())),
    )
    controls = {
        "unigram": hits["unigram"].mean(), "bigram": hits["bigram"].mean(),
        "clean": exact(judged[0], judged[1], decode).double().mean(), **sizes,
    }  # fmt: skip
    return _finding(
        _table(fitted, judged, hits, place.cpu().numpy()), bootstrap(hits["onion"], seed=seed), nulls,
        {k: float(v) for k, v in controls.items()}, Provenance(subject=about.subject, data=about.site, seed=seed),
    )  # fmt: skip


def _tokens(tokens: Any, x: Tensor) -> Tensor:
    read = torch.as_tensor(np.asarray(tokens).copy()).to(x.device)
    if read.ndim != 2 or len(read) != len(x) or read.is_floating_point():
        raise ShapeError(f"tokens must be whole numbers [{len(x)}, length], a row per state; got {list(read.shape)}.")
    if len(read) < FEWEST or read.shape[1] < 2 or int(read.min()) < 0 or int(read.max()) < 1:
        raise Degenerate(f"{FEWEST} sequences of two positions and two tokens (from 0 on) are needed, got {list(read.shape)}.")
    return read.long()


def _try(decode: Decode, x: Tensor, tokens: Tensor) -> None:
    """Refuse a decode that gives something else than logits for each position."""
    with torch.no_grad():
        logits = decode(x[:2], tokens[:2])
    if logits.ndim != 3 or logits.shape[:2] != tokens[:2].shape or logits.shape[2] <= int(tokens.max()):
        raise ShapeError(f"decode must give logits [2, {tokens.shape[1]}, vocab] for 2 states, it gave {list(logits.shape)}.")


@torch.no_grad()
def _exchanged(onion: Any, judged: Any, drawn: Any, goal: Tensor, decode: Decode, draws: int, stream: Any) -> np.ndarray:
    """Share of exact sequences when the rows of E belong to other tokens."""
    own, found = onion.embed.detach().clone(), np.zeros(draws)
    for i in range(draws):
        onion.embed.copy_(own[torch.from_numpy(stream.permutation(len(own))).to(own.device)])
        found[i] = float(exact(onion(*judged, *drawn), goal, decode).double().mean())
    onion.embed.copy_(own)
    return found


def _table(fitted: Any, judged: Any, hits: dict[str, np.ndarray], place: np.ndarray) -> dict[str, Any]:
    mean, written = tables(*fitted)
    peeled = (peel(judged[0], mean, written) == judged[1]).double().mean(0)
    linear = (linear_read(*fitted, judged[0]) == judged[1]).double().mean(0)
    positions = range(judged[1].shape[1])
    by_place = {n: [float(h[place == j].mean()) if (place == j).any() else 0.0 for j in positions] for n, h in hits.items()}
    magnitude = written.square().sum(2).mean(1).sqrt()
    read = {"linear": linear.tolist(), "peel": peeled.tolist(), "magnitude": magnitude.tolist()}
    return {"position": list(positions), **by_place, **read}


def _finding(columns: dict, estimate: Any, nulls: tuple[Null, ...], controls: dict, about: Provenance) -> Finding:
    import pandas as pd

    return Finding(
        "the state stores tokens by magnitude: onion exchanges are obeyed, and more often than those of linear subspaces",
        estimate=estimate, nulls=nulls, controls=controls, table=pd.DataFrame(columns), provenance=about,
        notes=("linear and peel read tokens without the network; the other shares are of sequences written exactly.",),
    )  # fmt: skip
