"""How well a network masters the behaviours of the language world, on prompts that no corpus seed has drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from microtome.stimuli.language import BEHAVIOURS
from microtome.stimuli.language.behaviour import Prompt


def evaluate(
    network: Any, vocabulary: dict[str, int], n: int = 200, seed: int = 1, words: Mapping[str, int] | None = None
) -> dict[str, dict[str, float]]:
    """Figures per behaviour over `n` prompts each; `words` names behaviours to narrow to so many words of each class.

    Returns
    -------
    dict of behaviour -> {"accuracy", "mass", "contrast"}
        Share of prompts whose most likely next word is right; mean probability of all right words; share of prompts where the
        answer is likelier than the wrong answer.
    """
    shown = {**BEHAVIOURS, **{name: BEHAVIOURS[name].narrowed(few) for name, few in (words or {}).items()}}
    return {
        name: score(network, vocabulary, behaviour.prompts(n, seed))
        for name, behaviour in shown.items()
        if behaviour.alter is not None
    }


def score(network: Any, vocabulary: dict[str, int], prompts: list[Prompt]) -> dict[str, float]:
    """The three figures of `evaluate` for a list of prompts."""
    import torch

    lengths = [len(p.clean) for p in prompts]
    ids = torch.zeros(len(prompts), max(lengths) + 1, dtype=torch.long)
    for row, p in zip(ids, prompts):
        row[: len(p.clean) + 1] = torch.tensor([1, *(vocabulary[w] for w in p.clean)])
    with torch.no_grad():
        hidden = network.model(input_ids=ids, use_cache=False).last_hidden_state
        probabilities = network.lm_head(hidden[torch.arange(len(prompts)), torch.tensor(lengths)]).softmax(-1).numpy()
    best = probabilities.argmax(-1)
    accepted = [[vocabulary[w] for w in p.accepts] for p in prompts]
    pairs = [(vocabulary[p.answer], vocabulary[p.wrong]) for p in prompts]
    figures = {
        "accuracy": np.mean([b in a for b, a in zip(best, accepted)]),
        "mass": np.mean([row[a].sum() for row, a in zip(probabilities, accepted)]),
        "contrast": np.mean([row[a] > row[w] for row, (a, w) in zip(probabilities, pairs)]),
    }
    return {name: round(float(value), 4) for name, value in figures.items()}
