"""Ronge et al. (2026), coffee and coffins: an audit of what a latent reads and how far it steers.

A network of two blocks learns a grammar of six themes: after three words that say nothing, function words and words of one
theme take turns. "coffee" and "coffin" are spelled with a common first piece and belong to two themes. On the function words,
where the next word of the theme must be chosen, a TopK dictionary has latents of themes. The latent that follows drinks best
(on texts of its own) passes the card; the same latent with the burials' latent added to it, codes and directions, is flagged
where the twin word was read; directions drawn at random open few windows, the clean latent opens one for most contexts.

Honest limits. The paper's themes are those of Llama 3.1, its judges people and language models; here presence is the
probability of the theme's words and fluency the unedited network's cross-entropy. The polysemantic latent is planted, as the
catalogue asks; so is the theme's clarity: the paper finds real features less clean than this one.

Nulls: the burials' latent; the clean and the merged latent for each other; random directions.

https://arxiv.org/abs/2601.03047
"""

import numpy as np
import torch
from torch import Tensor

import microtome as mt
from microtome.decompose import SparseDictionary, steering_audit, topk_sae
from microtome.evidence import Finding, auroc
from microtome.organisms.small import IGNORED, decoder, fit_tokens
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.subject.recording import Recording

CATALOG = ("decompose", 252)
SEEDS = (0, 1, 2, 3, 4)
BUDGET_SECONDS = 100
METHODS = ("microtome.decompose.steering_audit", "microtome.decompose.steering", "microtome.decompose.topk_sae")
THEMES, OWN, FUNCTION, OPENING = 6, 5, 6, 3
#: Ids: six function words, five words of each theme; the last word of the first two themes is spelled in two pieces.
FIRST = FUNCTION + THEMES * OWN
WORDS, LENGTH, SITE = FIRST + 1, 19, "blocks.0.resid_post"
DRINKS, BURIALS = 0, 1
SETTINGS = {"latents": 32, "k": 2, "steps": 300, "batch": 256, "lr": 5e-3}
STEPS, BATCH, CONTEXTS = 300, 32, 12

CLAIMS = [
    Claim("the clean latent tells its theme (AUROC, texts of their own)", "clean_auroc", 0.98, null="burials_auroc"),
    Claim("its card passes", "clean_passes", 1.0, null="merged_passes"),
    Claim("the latent of two themes fires where the twin word was read", "merged_fires", 0.3, null="clean_fires"),
    Claim("and the interval of that excludes 0.1", "merged_low", 0.1, null="clean_high"),
    Claim("share of contexts in which the clean latent steers", "robust", 0.6, null="random"),
    Claim("share of contexts in which random directions do", "random", 0.1, "<=", null="robust"),
]


def run(seed: int) -> dict[str, float]:
    """Train, fit, choose the two latents, audit the clean and the merged one."""
    model = decoder(WORDS, layers=2, width=64, heads=4, context=40, seed=seed)
    fit_tokens(model, lambda step: _batch(seed, step), STEPS, lr=4e-3)
    subject = mt.Subject(model, name="themes")
    basis = topk_sae(rows(subject, 150, seed, "dictionary"), seed=seed, **SETTINGS)
    chosen, tested = (rows(subject, 150, seed, name) for name in ("chosen", "tested"))
    clean, other = (int(_reads(basis, chosen, name).argmax()) for name in ("drinks", "burials"))
    merged = Merged(basis, clean, other)
    cards = {name: audit(subject, tested, b, clean, seed) for name, b in (("clean", basis), ("merged", merged))}
    of = {name: card.table.set_index("claim") for name, card in cards.items()}
    reads, twin = "tells 'drinks' from all else (AUROC)", "quiet on 'coffin': how often it fires there"
    card = cards["clean"]
    return {
        "clean_auroc": of["clean"].loc[reads, "value"], "burials_auroc": _reads(basis, tested, "drinks")[other],
        "clean_passes": card.controls["passed"], "merged_passes": cards["merged"].controls["passed"],
        "merged_fires": of["merged"].loc[twin, "value"], "clean_fires": of["clean"].loc[twin, "value"],
        "merged_low": of["merged"].loc[twin, "low"], "clean_high": of["clean"].loc[twin, "high"],
        "robust": card.estimate.value, "random": card.controls["random"], "p": card.nulls[0].p,
        "merged_robust": cards["merged"].estimate.value,
        **{name: card.controls[name] for name in ("difference_of_means", "prompt", "live_latents", "lowest", "highest")},
        "one_strength": of["clean"].loc["one strength serves this share of the prompts", "value"], "fvu": basis.metrics["fvu"],
    }  # fmt: skip


def audit(subject: mt.Subject, tested: Recording, basis: SparseDictionary, latent: int, seed: int) -> Finding:
    """The card of a latent that is called drinks."""
    words = {name: theme_words(t) for name, t in (("drinks", DRINKS), ("burials", BURIALS))}
    contexts = torch.from_numpy(rng(seed, "contexts").integers(0, FUNCTION, (CONTEXTS, OPENING)))
    return steering_audit(subject, tested, basis, latent=latent, prompts=contexts, words=words, seed=seed)


class Merged(SparseDictionary):
    """The dictionary with one latent added to another: codes and directions."""

    def __init__(self, basis: SparseDictionary, kept: int, gone: int) -> None:
        directions = basis.W_dec.clone()
        directions[kept] = directions[kept] + directions[gone]
        super().__init__(basis.site, **(basis.tensors() | {"W_dec": directions}), **basis.config(), subject=basis.subject)
        self.kept, self.gone = kept, gone

    def encode(self, x: Tensor) -> Tensor:
        z = super().encode(x)
        z[..., self.kept] += z[..., self.gone]
        z[..., self.gone] = 0
        return z


def theme_words(theme: int) -> list[int]:
    """Ids of a theme's words; of the one in two pieces the second piece, as the first is shared."""
    return list(range(FUNCTION + theme * OWN, FUNCTION + (theme + 1) * OWN))


def texts(n: int, seed: int, *name: str | int) -> tuple[Tensor, np.ndarray]:
    """Ids [n, LENGTH] and the theme of each text [n]."""
    g = rng(seed, "texts", *name)
    theme, ids = g.integers(0, THEMES, n), np.zeros((n, LENGTH), dtype=np.int64)
    for i in range(n):
        words = list(g.integers(0, FUNCTION, OPENING))
        while len(words) < LENGTH:
            word = FUNCTION + theme[i] * OWN + g.integers(OWN)
            twin = theme[i] in (DRINKS, BURIALS) and word == FUNCTION + theme[i] * OWN + OWN - 1
            words += [*([FIRST] if twin else []), word, g.integers(0, FUNCTION)]
        ids[i] = words[:LENGTH]
    return torch.from_numpy(ids), theme


def _batch(seed: int, step: int) -> tuple[Tensor, Tensor]:
    ids = texts(BATCH, seed, step)[0]
    return ids, torch.cat([ids[:, 1:], torch.full((BATCH, 1), IGNORED)], 1)


def rows(subject: mt.Subject, n: int, seed: int, name: str) -> Recording:
    """The site on function words after the first word of the theme, with the theme and whether a twin word was read."""
    ids, theme = texts(n, seed, name)
    x = subject.run(ids, record=[SITE], logits="none")[SITE]
    known = ((ids >= FUNCTION) & (ids != FIRST)).cumsum(1) > 0
    sample, place = (t.numpy() for t in ((ids < FUNCTION) & known).nonzero(as_tuple=True))
    seen = ((ids == theme_words(BURIALS)[-1]).cumsum(1) > 0).numpy()[sample, place]
    labels = {"drinks": theme[sample] == DRINKS, "burials": theme[sample] == BURIALS, "coffin": seen}
    return Recording.of(x[sample, place].clone(), site=SITE, index={"sample": sample, "position": place}, labels=labels)


def _reads(basis: SparseDictionary, recording: Recording, name: str) -> np.ndarray:
    """AUROC of each latent for a property."""
    return auroc(basis.encode(recording.matrix()).double().numpy(), recording.labels(name))
