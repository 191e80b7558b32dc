"""An audit card of one latent: does it fire for what it is called, on near misses, and does it steer?"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.places import codes
from microtome.decompose.steering import Continued, continued, prompt_ids, windows
from microtome.errors import Degenerate, UsageError, nearest
from microtome.evidence import Estimate, Finding, Null, Provenance, auroc, bootstrap
from microtome.method import Paper, method
from microtome.rng import rng, torch_rng
from microtome.subject.basis import require_same
from microtome.subject.fingerprint import current_fingerprint

#: A latent fires above this share of the 99th percentile of its codes on the concept.
FIRES = 0.25
#: Bars of the card: separation (AUROC), firing on near misses, share of prompts with a window, share that one strength serves.
SELECTIVE, LIMIT, ROBUST, SHARED = 0.9, 0.1, 0.6, 0.5
#: Other live latents that are steered with beside it.
OTHERS = 5


@method(
    question="decompose",
    paper=Paper(
        "Ronge et al.", 2026, "When the Coffee Feature Activates on Coffins: An Analysis of Feature Extraction and Steering "
        "for Mechanistic Interpretability", "https://arxiv.org/abs/2601.03047",
    ),
    needs=("subject", "recording", "basis", "labels", "tokens"),
    gives="Finding",
    stochastic=True,
    cost="O(rows * latents * d) to encode; (8 + draws) * strengths * prompts continuations of 8 tokens, stacked on the batch",
    claim="Steering with features replicates, but is fragile in strength and context; like features are hard to tell apart.",
    notion="decomposability",
    serves="trust",
    cannot_claim="That the latent means its name on texts of another kind; nor that no other latent would do.",
    tiny={"draws": 19, "strengths": (0.5, 1.0)},
)  # fmt: skip
def steering_audit(
    subject: Any, recording: Any, basis: Any, *, latent: int, prompts: Any, words: Mapping[str, Sequence[int]],
    strengths: Sequence[float] = (0.25, 0.5, 0.75, 1.0), rise: float = 0.2, budget: float = 1.0, draws: int = 19,
    seed: int = 0,
) -> Finding:  # fmt: skip
    """Audit what a latent is said to be: where it fires, on what else, and in how many contexts it steers.

    Reading: AUROC of its codes for the concept, against all rows and against each near miss, and how often it fires there.
    Steering: ``x + a s W_dec / |W_dec|`` at all positions, s the mean norm of x, a each of `strengths`; a strength works for a
    prompt when the concept's words gain `rise` of probability in the continuation and its cross-entropy under the unedited
    network grows by at most `budget` nats. Robustness: the share of prompts for which any strength works.

    Parameters
    ----------
    subject : Subject
        A causal language model.
    recording : Recording
        One site of it. Properties: the concept, and near misses chosen before looking (same theme, same spelling, neutral).
    basis : Basis
        With directions, of that site; paper: public sparse autoencoders.
    latent : int
        Which one is audited.
    prompts : texts, Inputs or Tensor[n, length]
        Contexts that are continued; of one length.
    words : mapping of str to sequences of token ids
        First the concept, a property of the recording, with the words that count as saying it; then near misses with theirs.
    strengths : sequence of float
        In units of the mean norm of the site. Default (0.25, 0.5, 0.75, 1.0).
    rise : float
        Probability that the concept's words must gain. Default 0.2.
    budget : float
        Nats per token that fluency may lose. Default 1.
    draws : int
        Random directions. Default 19, the least with which p can reach 0.05.
    seed : int
        Of the draws of tokens and directions. Default 0.

    Returns
    -------
    Finding
        Table, the card: claim, value, low, high, bar, passed; a latent passes when all rows do (``controls["passed"]``).
        Estimate: robustness. Controls: robustness of the difference of means, of five other live latents and of random
        directions (means), and of naming the concept in the prompt; density; the median window (lowest and highest strength
        that works, 0 where none does); `p99`: the latent's own 99th percentile in units of the norm.

    Raises
    ------
    UsageError
        A latent, property or word that is not there, or an option out of range.
    ShapeError
        When prompts differ in length.
    SubjectMismatch
        When the basis belongs to another site or subject.
    NonFinite
        When the recording or a prediction holds NaN or infinity.
    Degenerate
        When the concept is on all or no rows, the rows do not vary, or the latent never fires on the concept.

    Notes
    -----
    Null: random directions of the same length. A direction that is one of them is supported at rate alpha at most. The verdict
    is about steering alone; whether the name is right is in the card.
    Misleads when `words` are few of those that name the concept, or near misses are chosen after looking.

    Examples
    --------
    >>> import microtome as mt
    >>> from microtome.testing.worlds.steering_audit import themes
    >>> subject, recording, basis, prompts = themes(0)
    >>> words = {"tea": [0, 1, 2, 3], "graves": [4, 5, 6, 7]}
    >>> card = steering_audit(subject, recording, basis, latent=0, prompts=prompts, words=words, strengths=(0.5, 1.0))
    >>> card.verdict, bool(card.table["passed"].all())
    ('supported', True)

    References
    ----------
    Ronge et al. (2026). When the Coffee Feature Activates on Coffins: An Analysis of Feature Extraction and Steering for
    Mechanistic Interpretability. https://arxiv.org/abs/2601.03047
    """
    z, x, concept = _read(subject, recording, basis, latent), recording.matrix().double(), next(iter(words), "")
    levels, sets = _options(subject, recording, words, strengths, rise, budget, draws)
    has = np.asarray(recording.labels(concept))
    if not 0 < has.sum() < len(has):
        raise Degenerate(f"'{concept}' is on {has.sum()} of {len(has)} rows: both kinds are needed.")
    top = float(np.quantile(z[has, latent], 0.99))
    if top <= 0:
        raise Degenerate(f"latent {latent} never fires on '{concept}': choose another, or the right sign.")
    ids, scale = prompt_ids(subject, prompts), float(x.norm(dim=1).mean())
    g, stream = torch_rng(seed, "decompose", "steering_audit"), rng(seed, "decompose", "steering_audit")
    live = [i for i in np.flatnonzero((z != 0).any(0)) if i != latent]
    others = stream.permutation(live)[:OTHERS].astype(int).tolist()
    written = basis.directions.detach().double().cpu()
    means = (x[torch.from_numpy(has)].mean(0) - x[torch.from_numpy(~has)].mean(0)).cpu()
    random = torch.randn(draws, written.shape[1], generator=g, dtype=torch.float64)
    all_of = torch.cat([written[[latent]], means[None], written[others], random])
    unit = all_of / all_of.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    vectors = torch.cat([torch.zeros(1, unit.shape[1]).double(), (levels[None, :, None] * scale * unit[:, None]).flatten(0, 1)])
    said = continued(subject, ids, basis.site, vectors.to(subject.dtype).to(subject.device), sets, seed=seed)
    plain = Continued(said.said[:1], said.surprise[:1], said.repeats[:1])
    works = windows(said, plain, rise=rise, budget=budget)[1:].reshape(len(unit), len(levels), len(ids))
    robust = works.any(1).mean(1)
    own = works[0]
    serves = own.mean(1) + 1e-6 * said.said[1 : 1 + len(levels), :, 0].mean(1)  # of equal ones the strength that says most
    gain = (said.said[1 + int(serves.argmax())] - plain.said[0]).mean(0)
    card = _reading(z[:, latent], recording, concept, FIRES * top, seed)
    reach = bootstrap(own.any(0).astype(float), seed=seed) if len(ids) > 1 else Estimate(float(robust[0]), n=1)
    card.append(_row("steers: share of prompts with a strength that works", reach, ROBUST, robust[0] >= ROBUST))
    card.append(_row("one strength serves this share of the prompts", own.mean(1).max(), SHARED, own.mean(1).max() >= SHARED))
    names = list(words)[1:]
    card += [_row(f"does not say '{n}': probability gained", v, rise, v < rise) for n, v in zip(names, gain[1:], strict=True)]
    about = {
        "difference_of_means": robust[1], "prompt": _named(subject, ids, basis.site, sets, plain, rise, budget, seed),
        "live_latents": robust[2 : 2 + len(others)].mean() if others else 0.0, "random": robust[-draws:].mean(),
        "density": (z[:, latent] > FIRES * top).mean(), "p99": top * float(written[latent].norm()) / scale,
        "lowest": _median(own, levels, min), "highest": _median(own, levels, max),
    }  # fmt: skip
    null = Null("random directions of the same length", robust[-draws:], float(robust[0]))
    place = Provenance(subject=subject.fingerprint(), data=basis.site, seed=seed)
    return _finding(latent, concept, card, reach, null, {k: float(v) for k, v in about.items()}, place)


def _read(subject: Any, recording: Any, basis: Any, latent: int) -> np.ndarray:
    """Codes of all latents, once everything fits."""
    if basis.directions is None:
        raise UsageError("the basis has no directions, so there is nothing to steer with; fit a dictionary.")
    if isinstance(latent, bool) or not 0 <= latent < basis.dim:
        raise UsageError(f"latent must be a number in 0..{basis.dim - 1}, got {latent!r}.")
    z = codes(recording, basis)
    fitted = getattr(basis, "subject", "")
    require_same(basis, site=subject.site(basis.site).name, subject=current_fingerprint(subject) if fitted else "")
    return z


def _options(subject, recording, words, strengths, rise, budget, draws) -> tuple[Tensor, list[list[int]]]:
    unknown = [n for n in words if n not in recording.properties]
    if not words or unknown:
        hint = nearest(str(unknown[0]), recording.properties) if unknown else ""
        raise UsageError(f"words name properties of the recording, {recording.properties}; got {unknown or 'none'}.{hint}")
    sets = [sorted({int(i) for i in ids}) for ids in words.values()]
    if not all(sets) or min(min(s) for s in sets) < 0:
        raise UsageError("every name in words needs token ids that say it.")
    levels = torch.as_tensor(list(strengths), dtype=torch.float64)
    if not len(levels) or not bool((levels > 0).all()) or not 0 < rise < 1 or budget < 0 or draws < 1:
        raise UsageError(
            f"strengths > 0, rise in (0, 1), budget >= 0, draws >= 1 are needed, got {strengths, rise, budget, draws}."
        )
    return levels, sets


def _reading(z: np.ndarray, recording: Any, concept: str, level: float, seed: int) -> list[dict]:
    """Rows of the card about where the latent fires."""
    has, sample = np.asarray(recording.labels(concept)), recording.index["sample"].to_numpy()
    area = float(auroc(z, has))
    card = [_row(f"tells '{concept}' from all else (AUROC)", area, SELECTIVE, area >= SELECTIVE)]
    for name in recording.properties:
        near = np.asarray(recording.labels(name)) & ~has
        if name == concept or not near.any():
            continue
        each = [(z[near & (sample == s)] > level).mean() for s in np.unique(sample[near])]
        rate = bootstrap(each, seed=seed) if len(each) > 1 else Estimate(float(each[0]), n=1)
        low = rate.value if rate.low is None else rate.low
        card.append(_row(f"quiet on '{name}': how often it fires there", rate, LIMIT, low <= LIMIT))
        both = has | near
        area = float(auroc(z[both], has[both]))
        card.append(_row(f"tells '{concept}' from '{name}' (AUROC)", area, SELECTIVE, area >= SELECTIVE))
    return card


def _row(claim: str, value: Estimate | float, bar: float, passed: Any) -> dict:
    number = value if isinstance(value, Estimate) else Estimate(float(value))
    low, high = (number.value if v is None else v for v in (number.low, number.high))
    return {"claim": claim, "value": number.value, "low": low, "high": high, "bar": bar, "passed": bool(passed)}


def _named(subject, ids, site, sets, plain: Continued, rise: float, budget: float, seed: int) -> float:
    """Robustness of saying it: up to four of the concept's words before the prompt, nothing added."""
    said = torch.tensor(sets[0][:4]).to(ids).expand(len(ids), -1)
    width = subject.run(ids[:1], record=[site], logits="none")[site].shape[-1]
    found = continued(
        subject, torch.cat([said, ids], 1), site, torch.zeros(1, width).to(subject.device, subject.dtype), sets, seed=seed
    )
    return float(windows(found, plain, rise=rise, budget=budget).mean())


def _median(own: np.ndarray, levels: Tensor, end: Any) -> float:
    """Median over prompts with a window of its lowest or highest strength; 0 without any."""
    found = [end(levels[torch.from_numpy(column)].tolist()) for column in own.T if column.any()]
    return float(np.median(found)) if found else 0.0


def _finding(
    latent: int, concept: str, card: list[dict], reach: Estimate, null: Null, controls: dict, about: Provenance
) -> Finding:
    import pandas as pd

    table = pd.DataFrame(card)
    failed = table.loc[~table["passed"], "claim"].tolist()
    return Finding(
        f"latent {latent} steers towards '{concept}' in more contexts than random directions do",
        estimate=reach, nulls=(null,), controls={**controls, "passed": float(not failed)}, table=table, provenance=about,
        notes=("card passed" if not failed else "card failed: " + "; ".join(failed),),
    )  # fmt: skip
