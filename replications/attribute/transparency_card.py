"""Lipton (2018), The Mythos of Model Interpretability: say which interpretability is offered, and what it takes to follow.

Every method of the package carries a card: its notion, the desideratum that it serves, what it cannot claim. And a linear
model is not interpretable by default: on the breast cancer data of scikit-learn a logistic model of 10,000 polynomial
features takes a person thousands of multiplications, a tree of depth 4 of equal accuracy four comparisons, a network of
three units about a hundred multiply-adds. Null: a linear model of the 30 plain features, which is not hard to follow. There
is no one score: operations, parameters and inputs are counted apart.

https://arxiv.org/abs/1606.03490
"""

import numpy as np
import torch
from torch import nn

from microtome.attribute import simulatability
from microtome.methods import all_methods
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim

CATALOG = ("attribute", 72)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.attribute.simulatability", "microtome.method")
FEATURES, DEGREE, BASE = 10_000, 4, 20
FIELDS = ("method", "notion", "serves", "cannot_claim")

CLAIMS = [
    Claim("every method has a card: share", "with_card", 1.0, null="bare_functions"),
    Claim("the tree loses at most this accuracy to the linear model", "tree_loss", 0.05, "<=", null="majority_loss"),
    Claim("so does the network of three units", "network_loss", 0.05, "<=", null="majority_loss"),
    Claim("the linear model takes this many times the tree's steps", "linear_to_tree", 100.0, null="plain_to_tree"),
    Claim("and this many times the network's", "linear_to_network", 10.0, null="plain_to_network"),
    Claim("it asks for this many times the tree's inputs", "inputs_to_tree", 100.0, null="plain_to_tree"),
]


def run(seed: int) -> dict[str, float]:
    """Cards of all methods; counts and accuracies of the three models on held-out patients."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    x, y = load_breast_cancer(return_X_y=True)
    x, held, y, truth = train_test_split(x, y, test_size=0.3, random_state=seed, stratify=y)
    scale = StandardScaler().fit(x)
    x, held = scale.transform(x), scale.transform(held)
    powers = PolynomialFeatures(DEGREE).fit(x[:, :BASE])
    wide, wide_held = (powers.transform(part[:, :BASE])[:, 1 : FEATURES + 1] for part in (x, held))
    spread = StandardScaler().fit(wide)
    wide, wide_held = spread.transform(wide), spread.transform(wide_held)

    linear = LogisticRegression(C=0.01, max_iter=200).fit(wide, y)
    tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=5, random_state=seed).fit(x, y)
    network = seeded(lambda: nn.Sequential(nn.Linear(30, 3), nn.ReLU(), nn.Linear(3, 2)), seed, "three units")
    inputs, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    fit(network, lambda _: nn.functional.cross_entropy(network(inputs), labels), 200, lr=0.02)
    shown = torch.tensor(held, dtype=torch.float32)
    said = network(shown).argmax(1).numpy()
    accuracy = {"linear": linear.score(wide_held, truth), "tree": tree.score(held, truth), "network": (said == truth).mean()}
    counts = {"linear": simulatability(linear, wide_held), "tree": simulatability(tree, held),
              "network": simulatability(network, shown)}  # fmt: skip
    counts["plain"] = simulatability(LogisticRegression(C=0.01, max_iter=200).fit(x, y), held)
    steps = {name: count.steps for name, count in counts.items()}
    cards = [record.card() for record in all_methods().values()]
    return {
        "with_card": float(np.mean([all(str(card.get(field, "")).strip() for field in FIELDS) for card in cards])),
        "bare_functions": float(hasattr(simulatability, "method")), "methods": len(cards),
        "tree_loss": accuracy["linear"] - accuracy["tree"], "network_loss": accuracy["linear"] - accuracy["network"],
        "majority_loss": accuracy["linear"] - max(truth.mean(), 1 - truth.mean()),
        "linear_to_tree": steps["linear"] / steps["tree"], "plain_to_tree": steps["plain"] / steps["tree"],
        "linear_to_network": steps["linear"] / steps["network"], "plain_to_network": steps["plain"] / steps["network"],
        "inputs_to_tree": counts["linear"].inputs_used / counts["tree"].inputs_used,
        **{f"{name}_steps": value for name, value in steps.items()},
        **{f"{name}_accuracy": float(value) for name, value in accuracy.items()},
    }
