"""Bhattacharjee et al. (2023), LLM-guided counterfactuals: three questions to a language model, and the black box decides.

Reviews from templates, whose adjectives say whether they were liked; the black box is a network on the mean of word vectors.
The language model is a stand-in that answers by a lexicon, one answer in ten malformed or about words that are not there: it
is asked again, and nothing stops the run. The three steps flip the label with few words changed, inside the words that were
named; as many random words do not. A language model that names the topic (the wrong feature) flips nothing. On a network
trained on shuffled labels the pipeline does no better than exchanging as many other words that are as rare, each for one
other throughout (words drawn anew in each text would be too narrow a null: all texts share 16 adjectives, and p fell to 0.025
on two of five seeds). Where shuffled labels happen to agree with the adjectives p is small by luck, so the median counts.

A real language model was not tried: what is shown is the pipeline, not how well such a model reads a classifier.

https://arxiv.org/abs/2309.13340
"""

import numpy as np

from microtome.attribute import llm_counterfactual
from microtome.evidence import Finding
from microtome.organisms.bag import bag_of_words
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.stimuli.reviews import reviews
from microtome.testing.stub_model import StubModel

CATALOG = ("attribute", 261)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = (
    "microtome.attribute.llm_counterfactual", "microtome.attribute.counterfactual_prompts", "microtome.testing.stub_model",
    "microtome.stimuli.reviews", "microtome.organisms.bag",
)  # fmt: skip
TRAIN, TEST, MALFORMED = 3000, 100, 0.1

CLAIMS = [
    Claim("accuracy of the black box", "accuracy", 0.95, null="shuffled_accuracy"),
    Claim("flip rate of the three steps", "flips", 0.85, null="random_flips"),
    Claim("share of words edited", "edited", 0.25, "<=", null="unlimited_edited"),
    Claim("as many random words flip", "random_flips", 0.25, "<=", null="flips"),
    Claim("words of the wrong feature flip", "topic_flips", 0.1, "<=", null="flips"),
    Claim("texts that are answered though one answer in ten is malformed", "answered", 0.95, null="answered_without_retries"),
    Claim("trained on shuffled labels: p against random edits, in the median", "shuffled_p", 0.05, null="p", over="median"),
]


def run(seed: int) -> dict[str, float]:
    """Train both classifiers; run the pipeline on the right and the wrong feature."""
    texts, labels = reviews(TRAIN, seed)
    held, truth = reviews(TEST, seed + 1000)
    box = bag_of_words(texts, labels, seed=seed)
    shuffled = bag_of_words(texts, labels[rng(seed, "shuffled").permutation(TRAIN)], seed=seed)
    found = llm_counterfactual(box, held, StubModel(malformed=MALFORMED, seed=seed), seed=seed)
    topic = llm_counterfactual(box, held, StubModel("topic", MALFORMED, seed), draws=1, seed=seed)
    once = llm_counterfactual(box, held, StubModel(malformed=MALFORMED, seed=seed), retries=0, draws=1, seed=seed)
    wrong = llm_counterfactual(shuffled, held, StubModel(malformed=MALFORMED, seed=seed), seed=seed)
    other = llm_counterfactual(box, held, lambda prompt: rewritten(prompt, seed), budget=1.0, draws=1, seed=seed)
    return {
        "accuracy": float((box(held).argmax(1) == truth).mean()),
        "shuffled_accuracy": float((shuffled(held).argmax(1) == truth).mean()),
        "flips": found.estimate.value, "edited": found.controls["share of words edited"],
        "unlimited_edited": other.controls["share of words edited"],
        "random_flips": float(np.mean(found.nulls[0].statistics)), "topic_flips": topic.estimate.value,
        "answered": answered(found), "answered_without_retries": answered(once),
        "p": float(found.nulls[1].p), "shuffled_p": float(wrong.nulls[1].p), "shuffled_flips": wrong.estimate.value,
        "matched_flips": float(np.mean(found.nulls[1].statistics)),
        "inside": found.controls["edits inside the named words"], "calls": found.controls["calls per text"],
        "malformed": found.controls["malformed answers per text"], "rewritten_flips": other.estimate.value,
    }  # fmt: skip


def answered(finding: Finding) -> float:
    """Share of the texts for which all three questions were answered."""
    assert finding.table is not None
    return float(finding.table["answered"].mean())


def rewritten(prompt: str, seed: int) -> str:
    """A language model that writes another review altogether when it is asked for a counterfactual."""
    if "Task: counterfactual" not in prompt:
        return StubModel(seed=seed)(prompt)
    wanted = "should become 'positive'" in prompt
    texts, labels = reviews(20, seed + 2000)
    return f'{{"text": "{texts[int(np.flatnonzero(labels == wanted)[len(prompt) % 5])]}"}}'
