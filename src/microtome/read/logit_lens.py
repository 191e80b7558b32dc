"""The logit lens: what each layer would say if it were the last."""

from typing import Any

import numpy as np
import torch

from microtome.errors import Degenerate, SiteError
from microtome.evidence import Estimate, Finding, Null, Provenance, bootstrap
from microtome.method import Paper, method
from microtome.rng import rng


@method(
    question="read",
    paper=Paper("nostalgebraist", 2020, "interpreting GPT: the logit lens",
                "https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens"),
    needs=("subject", "task"),
    gives="Finding",
    stochastic=True,
    cost="one forward, one unembedding per block",
    claim="The residual stream of middle layers, unembedded directly, already prefers the answer.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That earlier layers 'know' the answer: they need not use the basis of the last layer.",
    tiny={"draws": 39},
)  # fmt: skip
def logit_lens(subject: Any, task: Any, *, draws: int = 199, alpha: float = 0.05, seed: int = 0) -> Finding:
    """Read the answer off the residual stream after each block.

    ``lens_l(x) = W_U N(h_l)`` with the statistics of the final norm N recomputed at h_l.

    Parameters
    ----------
    subject : Subject
        With a known final norm and head.
    task : Task
        Prompts with answers and wrong answers.
    draws : int, default 199
        Of the null.
    alpha : float, default 0.05
    seed : int, default 0

    Returns
    -------
    Finding
        Table, one row per block: logit_difference (nats, mean over examples) with low and high over groups, rank of the
        answer (median), probability, entropy (nats). Estimate: logit difference after the middle block. Null: answers of other
        examples in place of the own.

    Raises
    ------
    SiteError
        When the subject has no head to read with.
    Degenerate
        When all examples have the same answer: no null can be drawn.

    Notes
    -----
    Null: with answers of other examples the mean difference is 0.
    Misleads when early layers write in another basis: low values there do not mean that nothing is known.

    Examples
    --------
    >>> from microtome.testing.planted_network import planted_network
    >>> planted = planted_network(0)
    >>> found = logit_lens(planted.subject, planted.task)
    >>> found.table["median_rank"].tolist()[-1], found.verdict
    (0.0, 'supported')

    References
    ----------
    nostalgebraist (2020). interpreting GPT: the logit lens.
    https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens
    """
    import pandas as pd

    bound = subject.bind(task)
    sites = [s.name for s in subject.sites("*blocks.*.resid_post")]
    if not sites or bound.metric.positions is None:
        raise SiteError(f"{subject.name} has no residual stream to read; the logit lens needs a transformer with a head.")
    run = subject.run(bound.inputs, record=sites, logits="none")
    at = torch.arange(len(bound))
    groups = np.asarray(bound.groups)
    rows, differences, nulls = [], [], []
    orders = _other_answers(bound.answers.numpy(), draws, seed)
    for site in sites:
        logits = subject.unembed(run[site][at, bound.metric.positions]).cpu()
        answer, wrong = logits[at, bound.answers], logits[at, bound.wrong]
        value = (answer - wrong).double().numpy()
        log_p = logits.log_softmax(-1)
        estimate = bootstrap(value, seed=seed) if len(set(groups.tolist())) < 3 else _by_group(value, groups, seed)
        centred = (logits - logits.mean(-1, keepdim=True)).double().numpy()
        own = centred[at.numpy(), bound.answers.numpy()] - centred[at.numpy(), bound.wrong.numpy()]
        swapped = np.stack([(centred[at.numpy(), bound.answers.numpy()[o]] - centred[at.numpy(), bound.wrong.numpy()[o]]).mean()
                            for o in orders])  # fmt: skip
        rows.append({
            "site": site, "logit_difference": float(value.mean()), "low": estimate.low, "high": estimate.high,
            "median_rank": float(np.median((logits > answer[:, None]).sum(-1).numpy())),
            "probability": float(log_p[at, bound.answers].exp().mean()),
            "entropy": float(-(log_p.exp() * log_p).sum(-1).mean()),
            "p": (1 + int((swapped >= own.mean()).sum())) / (1 + draws),
        })  # fmt: skip
        differences.append(estimate)
        nulls.append(Null("answers of other examples", swapped, float(own.mean()), "greater"))
    middle = (len(sites) - 1) // 2
    first = next((r["site"] for r in rows if r["p"] <= alpha and r["logit_difference"] > 0), None)
    claim = f"the answer of '{task.name}' can be read off the residual stream" + (f" from {first} on" if first else "")
    return Finding(
        claim, estimate=_labelled(differences[-1]), nulls=(nulls[-1],),
        controls={"after the middle block": differences[middle]}, table=pd.DataFrame(rows), alpha=alpha,
        provenance=Provenance(subject=subject.fingerprint(), data=task.fingerprint(), seed=seed, forwards=1.0),
    )  # fmt: skip


def _labelled(estimate: Estimate) -> Estimate:
    return Estimate(estimate.value, estimate.low, estimate.high, level=estimate.level, n=estimate.n, unit="nats",
                    method=estimate.method)  # fmt: skip


def _by_group(values: np.ndarray, groups: np.ndarray, seed: int) -> Estimate:
    from microtome.evidence import cluster_bootstrap

    return cluster_bootstrap(values, groups, seed=seed)


def _other_answers(answers: np.ndarray, draws: int, seed: int) -> list[np.ndarray]:
    if len(np.unique(answers)) < 2:
        raise Degenerate("all examples have the same answer, so no other answers can be put in its place.")
    stream = rng(seed, "logit lens")
    return [stream.permutation(len(answers)) for _ in range(draws)]
