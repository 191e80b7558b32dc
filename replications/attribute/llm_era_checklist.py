"""Singh et al. (2024), interpretability in the era of large language models: statements are verified, not believed.

A position paper without results; of its checklist the item on hallucination is taken: what a language model says of a model
is tested by intervention. A stand-in for a language model gives ten true and ten false statements about a network on bags of
words ("mentions of X raise C"), among sentences that cannot be tested. Putting the words into held-out texts and taking them
out tells the true from the false (AUC of the lower end of the interval); the null is the same statements in shuffled order.
False are statements turned round: those about words without a meaning (topics, places), which were tried at first, are not
certain to be false; one network had given a place two nats, and the verdict was right. About a network trained on shuffled
labels all are refuted: its effects are smaller than the least that counts.

https://arxiv.org/abs/2402.01761
"""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from microtome.attribute import verify_statements
from microtome.organisms.bag import BagOfWords, bag_of_words
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.stimuli.reviews import NEGATIVE, POSITIVE, reviews

CATALOG = ("attribute", 112)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.attribute.verify_statements", "microtome.stimuli.reviews", "microtome.organisms.bag")
TRAIN, TEST, LEAST = 3000, 60, 1.0
IDLE = ("The classifier weighs the tone of a text.", "mentions of weather raise joy")

CLAIMS = [
    Claim("accuracy of the classifier", "accuracy", 0.95, null="shuffled_accuracy"),
    Claim("AUC of the verification score, true against false statements", "auc", 0.9, null="permuted_auc"),
    Claim("true statements that are supported", "supported", 0.9, null="false_supported"),
    Claim("false statements that are supported", "false_supported", 0.1, "<=", null="supported"),
    Claim("sentences that cannot be tested are said to be so", "unreadable", 1.0, null="readable_unreadable"),
    Claim("trained on shuffled labels: true statements that are supported", "shuffled_supported", 0.0, "<=", null="supported"),
]


def run(seed: int) -> dict[str, float]:
    """Train, let the stand-in speak, verify."""
    texts, labels = reviews(TRAIN, seed)
    held, truth = reviews(TEST, seed + 1000)
    box = bag_of_words(texts, labels, seed=seed)
    shuffled = bag_of_words(texts, labels[rng(seed, "shuffled").permutation(TRAIN)], seed=seed)
    statements, true = said(seed)
    found = tested(box, held, [*statements, *IDLE], seed)
    wrong = tested(shuffled, held, statements, seed)
    score, verdict = found["low"].to_numpy()[:20], found["verdict"].to_numpy()
    return {
        "accuracy": float((box(held).argmax(1) == truth).mean()),
        "shuffled_accuracy": float((shuffled(held).argmax(1) == truth).mean()),
        "auc": auc(score, true), "permuted_auc": auc(score, rng(seed, "permuted").permutation(true)),
        "supported": float((verdict[:20][true] == "supported").mean()),
        "false_supported": float((verdict[:20][~true] == "supported").mean()),
        "unreadable": float((verdict[20:] == "unreadable").mean()),
        "readable_unreadable": float((verdict[:20] == "unreadable").mean()),
        "shuffled_supported": float((wrong["verdict"].to_numpy()[true] == "supported").mean()),
        "shuffled_effect": float(wrong["effect"].abs().max()), "least_true_effect": float(found["effect"][:20][true].min()),
    }  # fmt: skip


def tested(box: BagOfWords, texts: list[str], statements: list[str], seed: int) -> pd.DataFrame:
    """The verdicts."""
    table = verify_statements(box, texts, statements, least=LEAST, seed=seed).table
    assert table is not None
    return table


def said(seed: int) -> tuple[list[str], np.ndarray]:
    """What the stand-in says, in a drawn order: ten true statements, and ten turned round (other words, then the same)."""
    true = [f"Mentions of {w} raise positive." for w in POSITIVE[:5]]
    true += [f"mentions of '{w}' lower positive" for w in NEGATIVE[:5]]
    false = [f"Mentions of {w} raise negative." for w in POSITIVE[5:]]
    false += [f"mentions of {w} raise positive" for w in NEGATIVE[5:]]
    false += [f"mentions of {w} lower positive" for w in POSITIVE[:2]]
    false += [f"mentions of {w} lower negative" for w in NEGATIVE[:2]]
    order = rng(seed, "order").permutation(20)
    return [[*true, *false][i] for i in order], order < 10


def auc(score: np.ndarray, true: np.ndarray) -> float:
    """Area under the ROC curve, ties by half."""
    above = rankdata(score)[true].sum() - true.sum() * (true.sum() + 1) / 2
    return float(above / (true.sum() * (~true).sum()))
