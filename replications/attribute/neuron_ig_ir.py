"""Which neurons of a cross-encoder rank: conductance (neuron integrated gradients) from a sequence of PAD tokens.

A two-layer decoder of width 32 reads query [SEP] passage [CLS] and says with one of two tokens whether the passage holds both
query words; 20 candidates per query, of which 4 hold both and 16 one. Conductance adds up to F(x) - F(x') over the residual
stream at every block boundary; over one MLP, which the stream passes by, it does not (the null). Neurons of both MLPs are
ranked by their mean conductance over relevant pairs less that over others; setting the top 5% to zero costs more nDCG@10 than
random sets of their size. Rankings from networks with redrawn weights are the null of that (mean over five).

Small scale: a decoder as re-ranker, where the paper has a bidirectional encoder (a BERT of this size, and a GPT-2, did not
learn the task in 600 steps; seed 10), and one synthetic domain, so that transfer between domains is not asked. Most sets of
ten neurons cost little, in some networks the top ones too: the second claim is one of the median over seeds. Tried before, on
the seeds of calibration: easier candidates, and conductance over relevant pairs alone (fails on two of five seeds).

Vast, Van Cooten, Soulier, Piwowarski (2024). Which Neurons Matter in IR? ICTIR.
"""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.metrics import ndcg_score
from torch import Tensor

from microtome.attribute import conductance
from microtome.organisms.small import IGNORED, decoder, fit_tokens
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.stimuli.task import Task
from microtome.subject.edit import ablate
from microtome.subject.subject import Subject

CATALOG = ("attribute", 17)
SEEDS = (0, 1, 2, 3, 4)
BUDGET_SECONDS = 60
METHODS = ("microtome.attribute.conductance", "microtome.attribute.paths")
PAD, CLS, SEP, YES, NO, FIRST, WORDS, QUERY, PASSAGE = 0, 1, 2, 3, 4, 5, 10, 2, 4
CUTS = ("blocks.0.resid_pre", "blocks.0.resid_post", "blocks.1.resid_post")
LAYERS = ("blocks.0.mlp.hidden", "blocks.1.mlp.hidden")
RANDOM, TWINS, CANDIDATES = 39, 5, (4, 16)

CLAIMS = [
    Claim("conductance over each block boundary adds up: worst median relative error", "cut_error", 0.03, "<=",
          null="mlp_error"),
    Claim("share of random sets whose removal costs less nDCG@10 than that of the top neurons", "beats_random", 0.95,
          null="redrawn_beats_random", over="median"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train a ranker, attribute it, prune it."""
    net = decoder(FIRST + WORDS, layers=2, width=32, context=16, seed=seed)
    stream = rng(seed, "ranker", "train")
    fit_tokens(net, lambda _: asked(*pairs(64, stream)), 500, lr=5e-3)
    subject = Subject(net, name="ranker")
    x, y = pairs(80, rng(seed, "ranker", "explained"))
    task = relevance(x)
    missed = {at: float(conductance(subject, task[:50], at=at, baseline="corrupt").relative_residual.median())
              for at in (*CUTS, LAYERS[0])}  # fmt: skip
    mine = ranked(subject, task, y)
    redrawn = [ranked(subject.twin("reinit", seed=5 * seed + i), task, y) for i in range(TWINS)]
    total = len(mine)
    k = round(0.05 * total)
    queries = candidates(30, rng(seed, "ranker", "queries"))
    draw = rng(seed, "ranker", "random neurons")
    plain = ndcg(subject, queries, [])
    random = np.array([plain - ndcg(subject, queries, draw.choice(total, k, replace=False)) for _ in range(RANDOM)])
    lost, lost_redrawn = (np.array([plain - ndcg(subject, queries, o[:k]) for o in part]) for part in ([mine], redrawn))
    return {
        "cut_error": max(missed[at] for at in CUTS), "mlp_error": missed[LAYERS[0]],
        "beats_random": float((random < lost[0]).mean()),
        "redrawn_beats_random": float((random < lost_redrawn[:, None]).mean()),
        "ndcg": plain, "lost": lost[0], "lost_redrawn": float(lost_redrawn.mean()), "lost_random": float(random.mean()),
    }  # fmt: skip


def pairs(n: int, stream: np.random.Generator, query: np.ndarray | None = None, hits: np.ndarray | None = None):
    """Sequences [n, 8] and relevance [n]: a passage of distinct words holds 0, 1 or 2 of the query's two."""
    order = FIRST + stream.permuted(np.tile(np.arange(WORDS), (n, 1)), axis=1)
    query = order[:, :QUERY] if query is None else query
    hits = stream.choice([0, 1, 2], n, p=[0.1, 0.4, 0.5]) if hits is None else hits
    passage = np.stack([row[~np.isin(row, q)][:PASSAGE] for row, q in zip(order, query)])
    mixed = stream.permuted(query, axis=1)
    for h in (1, 2):
        passage[hits >= h, h - 1] = mixed[hits >= h, h - 1]
    column = np.ones((n, 1), dtype=int)
    x = np.concatenate([query, SEP * column, stream.permuted(passage, axis=1), CLS * column], axis=1)
    return torch.tensor(x), torch.tensor(hits == 2)


def candidates(n: int, stream: np.random.Generator) -> tuple[Tensor, np.ndarray]:
    """n queries with 20 candidates each, 4 of them relevant: sequences [n * 20, 8], relevance [n, 20]."""
    queries = np.stack([FIRST + stream.choice(WORDS, QUERY, replace=False) for _ in range(n)])
    hits = np.tile(np.repeat([2, 1], CANDIDATES), n)
    x, y = pairs(len(hits), stream, np.repeat(queries, sum(CANDIDATES), axis=0), hits)
    return x, y.view(n, -1).numpy()


def asked(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The answer behind the last token is all that is asked."""
    targets = torch.full_like(x, IGNORED)
    targets[:, -1] = torch.where(y, YES, NO)
    return x, targets


def relevance(x: Tensor) -> Task:
    """The logit of "relevant" over the other; the counterfactual has PAD for query and passage."""
    pad = torch.where(x < FIRST, x, PAD)
    return Task("relevant", x, pad, torch.full((len(x),), YES), torch.full((len(x),), NO), kind="tokens",
                groups=list(range(len(x))))  # fmt: skip


def ranked(subject: Subject, task: Task, y: Tensor) -> np.ndarray:
    """Neurons of both MLPs, counted through, by mean conductance for relevant pairs less that for others."""
    found = torch.cat([conductance(subject, task, at=at, baseline="corrupt", steps=20).values.sum(dim=1) for at in LAYERS], 1)
    return (found[y].mean(0) - found[~y].mean(0)).argsort(descending=True).numpy()


def ndcg(subject: Subject, queries: tuple[Tensor, np.ndarray], neurons: Sequence[int] | np.ndarray) -> float:
    """Mean nDCG@10 with some neurons at zero."""
    x, y = queries
    task = relevance(x)
    width = subject.module.config.intermediate_size
    units = [sorted(int(i) % width for i in neurons if int(i) // width == layer) for layer in range(len(LAYERS))]
    edits = [ablate(at, how="zero", unit=mine) for at, mine in zip(LAYERS, units) if mine]
    bound = subject.bind(task)
    run = subject.run(bound.inputs, edits=edits, logits=bound.metric.positions)
    return float(ndcg_score(y, bound.metric(bound.metric.read(run.logits)).view(len(y), -1).numpy(), k=10))
