"""Senetaire, Garreau, Frellsen, Mattei (2023), Explainability as statistical inference: switching panels.

Two panels side by side: a handwritten digit (scikit-learn), which is the label, and another with its pixels shuffled; the
order is a coin's. A selector shows 30% of the squares of 2 x 2 pixels. Learned with five fillings from other pictures it
shows the digit's panel, more than a selector learned with zeros does; the digit can be read from what is shown, and is hardly
written in the shape of the masks: a logistic model of these alone says little more than chance, and more where zeros tell the
shape. With shuffled labels neither panel is preferred.

Fillings come from the pictures that agree with what is shown (the conditional of a mixture). What was tried first, on seed 10:
fillings from all pictures, two masks per example and step (73% right, masks 27 points above chance); fillings that agree, four
masks (88%, 24 points, share 0.74); a selector that also sees all other squares, with bounded odds (91%, 9 points, share 0.86).
On seeds 10 to 14 masks were up to 15.2 points above chance, with a bound of 2 and with pictures that could be filled from
themselves, an error. Both were changed, and seeds 15 to 17 gave 11 to 12 points before the reported ones were run.

Limits: small pictures, other pictures instead of a generative model, no CelebA.

https://arxiv.org/abs/2212.03131
"""

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from microtome.attribute import Selector, lex
from microtome.organisms.fit import seeded
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.task import Task
from microtome.stimuli.vision import panels
from microtome.subject.subject import Subject

CATALOG = ("attribute", 82)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 120
METHODS = ("microtome.attribute.lex", "microtome.attribute.selector", "microtome.attribute.subsets")
TRAIN, TEST = 3000, 500

CLAIMS = [
    Claim("share of the selection in the digit's panel", "share", 0.75, null="share_shuffled"),
    Claim("the same, less that with zeros", "over_zero", -0.02, null="shuffled_over_zero"),
    Claim("digits foretold from the masks alone, above chance", "masks_tell", 0.15, "<=", null="masks_tell_zero"),
    Claim("accuracy through the selection, on digits not seen before", "accuracy", 0.8, null="accuracy_random"),
    Claim("shuffled labels: share in the digit's panel, distance from one half", "shuffled", 0.1, "<=", null="not_shuffled"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Fit three selectors and look at what they show."""
    shown, held = panels(TRAIN, seed), panels(TEST, seed + 500, half="test")
    y = torch.tensor(shown.labels("label"))
    mixed = y[torch.from_numpy(rng(seed, "shuffled labels").permutation(TRAIN))]
    subject = Subject(seeded(network, seed, "lex"))
    several = lex(subject, asked(shown, y), features=2, seed=seed)
    zeros = lex(subject, asked(shown, y), features=2, baseline="zero", draws=1, seed=seed)
    chance = lex(subject, asked(shown, mixed), features=2, pretrain=100, steps=200, seed=seed)
    answers = torch.tensor(held.labels("label"))
    x, masks = held.inputs, several.masks(held.inputs)
    random = torch.rand(masks.shape, generator=torch.Generator().manual_seed(seed)).argsort(1) < several.size
    share, share_zero, share_mixed = (in_panel(s, held) for s in (several, zeros, chance))
    right = hits(several.predict(x, masks), answers)
    return {
        "share": share, "share_shuffled": share_mixed, "over_zero": share - share_zero,
        "shuffled_over_zero": share_mixed - share_zero,
        "masks_tell": told(several.masks(shown.inputs), y, masks, answers) - 0.1, "accuracy": right,
        "accuracy_random": hits(several.predict(x, random.float()), answers),
        "shuffled": abs(share_mixed - 0.5), "not_shuffled": abs(share - 0.5), "share_zero": share_zero,
        "accuracy_zero": hits(zeros.predict(x), answers),
        "masks_tell_zero": told(zeros.masks(shown.inputs), y, zeros.masks(x), answers) - 0.1,
    }  # fmt: skip


def network() -> nn.Sequential:
    """The predictor, untrained."""
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def asked(shown: Stimuli, labels: Tensor) -> Task:
    """The digit of each picture."""
    return Task("digit", shown.inputs, shown.inputs.flip(0), labels, (labels + 1) % 10, kind="image",
                groups=list(range(len(labels))))  # fmt: skip


def in_panel(selector: Selector, held: Stimuli) -> float:
    """Mean share of the probability of being shown that stands in the digit's panel."""
    shown = selector.attribution(held, torch.tensor(held.labels("label"))).values
    signal = torch.as_tensor(held.masks["signal"]).reshape(shown.shape)
    return float(((shown * signal).flatten(1).sum(1) / shown.flatten(1).sum(1)).mean())


def told(masks: Tensor, labels: Tensor, new: Tensor, answers: Tensor) -> float:
    """Accuracy of a logistic model of the masks alone."""
    model = LogisticRegression(max_iter=200).fit(masks.numpy(), labels.numpy())
    return float(model.score(new.numpy(), answers.numpy()))


def hits(said: Tensor, answers: Tensor) -> float:
    return float((said.argmax(1) == answers).float().mean())
