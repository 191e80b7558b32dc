"""Class identifiability: from which block on a token says the class."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from microtome.attribute.class_embedding import class_logits, mean_over, ranks, split_tokens, stream_sites
from microtome.attribute.mixers.reading import asked
from microtome.attribute.place import position_mask
from microtome.errors import Degenerate
from microtome.evidence import Finding, Null, Provenance, bootstrap
from microtome.method import Paper, method
from microtome.rng import rng
from microtome.subject.edit import Edit


@method(
    question="attribute",
    paper=Paper("Vilas, Schaumlöffel, Roig", 2023, "Analyzing Vision Transformers for Image Classification in Class Embedding "
                "Space", "https://arxiv.org/abs/2310.18969"),
    needs=("subject", "task"),
    gives="Finding",
    stochastic=True,
    cost="one forward, one unembedding per site of the stream",
    claim="Tokens of a vision transformer move towards their class's embedding from block to block, image tokens by context.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That the network uses what can be read off a token before the last block.",
    tiny={"draws": 39},
    skips={"batch": "a finding about all examples has no row per example"},
)  # fmt: skip
def class_identifiability(
    subject: Any, task: Any, *, edits: Sequence[Edit] = (), draws: int = 100, alpha: float = 0.05, seed: int = 0
) -> Finding:
    """Project every token of every block on the class embeddings and rank the true class.

    ``p = E N(h)``, N the final norm with the token's own statistics, E the head without its bias; identifiability is
    ``1 - rank / (C - 1)``: 1 where the class is first, 0.5 by chance.

    Parameters
    ----------
    subject : Subject
        A vision transformer with a head; language models too, where a class is a next token.
    task : Task
        Its answers are the true classes.
    edits : sequence of Edit, optional
        Interventions, e.g. attention between image tokens cut; default none.
    draws : int, default 100
        Permutations of the class embeddings.
    alpha : float, default 0.05
    seed : int, default 0

    Returns
    -------
    Finding
        Table, one row per site of the stream and kind of token ("read": the class token or the last one; "other"):
        identifiability with low and high over examples, chance (mean over permutations of the class embeddings), raised (share
        of tokens whose true-class logit is higher than at the site before). Estimate: the read token (all tokens, where they
        are pooled) at the last site. Null: class embeddings permuted.

    Raises
    ------
    SiteError
        Without residual stream or head.
    Degenerate
        With fewer than three examples or classes.
    UsageError, NonFinite

    Notes
    -----
    Null: 0.5 on average over permutations of the classes; one permutation can be far from it where classes are few.
    Misleads when early blocks write in another basis than the head reads: 0.5 there does not mean that nothing is known.

    Examples
    --------
    >>> from microtome.testing.planted_network import planted_network
    >>> planted = planted_network(0)
    >>> found = class_identifiability(planted.subject, planted.task)
    >>> found.estimate.value, found.verdict
    (1.0, 'supported')

    References
    ----------
    Vilas, Schaumlöffel, Roig (2023). Analyzing Vision Transformers for Image Classification in Class Embedding Space.
    https://arxiv.org/abs/2310.18969
    """
    import pandas as pd

    bound, sites = subject.bind(task), stream_sites(subject)
    logits = class_logits(subject, bound.inputs, sites, edits)
    first = logits[sites[0]]
    n, length, classes = first.shape
    if n < 3 or classes < 3:
        raise Degenerate(f"{n} examples of {classes} classes: ranks of classes need at least 3 of both.")
    kinds = split_tokens(length, asked(subject, bound, first), position_mask(subject, bound.inputs, sites[0], first))
    stream = rng(seed, "class embeddings")
    orders = [stream.permutation(classes) for _ in range(draws)]
    rows, last = [], {}
    before = None
    for site in sites:
        own = ranks(logits[site], bound.answers)
        chance = [ranks(logits[site], bound.answers.new_tensor(o)[bound.answers]) for o in orders]
        value = logits[site].gather(-1, bound.answers[:, None, None].expand(n, length, 1))[..., 0]
        for kind, which in kinds.items():
            each = mean_over(own, which)
            by_chance = np.array([mean_over(c, which).mean() for c in chance])
            found = bootstrap(each, seed=seed)
            raised = 0.0 if before is None else float(mean_over((value > before).float(), which).mean())
            rows.append({"site": site, "tokens": kind, "identifiability": found.value, "low": found.low, "high": found.high,
                         "chance": float(by_chance.mean()), "raised": raised})  # fmt: skip
            last[kind] = found, by_chance
        before = value
    found, by_chance = last["read"] if "read" in last else last["other"]
    return Finding(
        f"tokens of the last block of {subject.name} say the class of '{task.name}'", estimate=found,
        nulls=(Null("class embeddings permuted", by_chance, found.value, "greater"),),
        controls={f"{kind} tokens": one for kind, (one, _) in last.items()}, table=pd.DataFrame(rows), alpha=alpha,
        provenance=Provenance(subject=subject.fingerprint(), data=task.fingerprint(), seed=seed, forwards=1.0),
    )  # fmt: skip
