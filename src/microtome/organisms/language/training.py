"""Train the language organism.

Next-word prediction on freshly generated documents. Words that a perfect reader can tell weigh more than the rest, and the
behaviours that lag on a check every few hundred steps are shown more often until they catch up.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from microtome.organisms.language.evaluate import evaluate, score
from microtome.organisms.language.network import SPECIAL, build_network, build_tokenizer
from microtome.organisms.optimisers import Optimisers, adamw, muon
from microtome.rng import derive, rng
from microtome.stimuli.language import BEHAVIOURS, vocabulary
from microtome.stimuli.language.behaviour import Prompt
from microtome.stimuli.language.facts import HELD_OUT, TWO_HOP
from microtome.stimuli.language.world import documents

log = logging.getLogger(__name__)

CHUNK = 6000  # documents generated at once
LENGTH, ROWS = 64, 24  # documents are packed into rows of this length, this many rows a step
CHECK = 200  # steps between checks
MASTERED = 0.95
OTHER = 0.1  # weight of the words that cannot be told


@dataclass(frozen=True)
class Stage:
    """A stretch of training; the rates fall linearly from `peak` to `final` after the warm-up."""

    name: str
    steps: int
    peak: float = 2e-3
    final: float = 0.0
    warmup: int = 100
    most: float = 6.0
    """Answers of one document weigh at most this much together, so that long copies do not drown the rest."""
    boost: Mapping[str, float] = field(default_factory=dict)
    """Factors on the corpus weights."""
    words: Mapping[str, int] = field(default_factory=dict)
    """Behaviours that are shown with so many words of each class only."""
    shortest: Mapping[str, int] = field(default_factory=dict)
    """Behaviours whose documents of fewer words are left out."""
    until: str = ""
    """A behaviour: once it is mastered at a check, the stage ends."""
    optimisers: Callable[[torch.nn.Module], Optimisers] = adamw


IN_CONTEXT = ("ioi", "induction", "coloured_objects", "entity_binding", "code", "pronoun")
BINDING = ("coloured_objects", "entity_binding", "code")
#: Shortest documents with three things and what belongs to them.
THREE_PAIRS = {"code": 26, "coloured_objects": 29, "entity_binding": 39}


def only(*names: str) -> dict[str, float]:
    """Factors that leave all other behaviours out."""
    return {name: 0.0 for name in BEHAVIOURS if name not in names}


def together(*names: str, few: int = 0) -> Stage:
    """A stage that shows the named behaviours alone until the last is mastered, drawn from `few` words at first."""
    boost = {**only(*names), "gender": 0.3, names[-1]: 2.0}
    words = {names[-1]: few} if few else {}
    return Stage(names[-1], 1200, peak=6e-4, final=6e-4, boost=boost, words=words, shortest=THREE_PAIRS, until=names[-1],
                 optimisers=muon)  # fmt: skip


STAGES = (
    # What is bound in the context comes before anything that is stored, one behaviour after the other: later, or all at once,
    # no heads form for it. Two pairs only are answered by exclusion, which never becomes a lookup, and at larger rates nothing
    # forms. The pronoun needs three heads in a row and gives one bit: it forms with few words, then spreads to more.
    together("code"),
    together("code", "induction", "entity_binding"),
    together("code", "induction", "entity_binding", "coloured_objects", few=6),
    together("code", "induction", "entity_binding", "coloured_objects", "ioi", "gender", "pronoun", few=3),
    Stage("all", 3600, peak=8e-4, boost={**dict.fromkeys(BINDING, 2.0), "pronoun": 2.0}, shortest=THREE_PAIRS, optimisers=muon),
)


def batches(
    words: dict[str, int],
    weights: Mapping[str, float],
    seed: int,
    most: float = 6.0,
    few: Mapping[str, int] | None = None,
    shortest: Mapping[str, int] = MappingProxyType({}),
) -> Iterator[tuple[torch.Tensor, ...]]:
    """One chunk of the corpus, packed: ids, document number in the row, weight of predicting each id; all [rows, LENGTH].

    `few` names behaviours that draw from so many words of each class only; `shortest`, those whose shorter documents are left
    out.
    """
    rows: list[list[tuple[list[int], np.ndarray]]] = []
    free: list[int] = []
    open_rows: list[int] = []
    for name, document in documents(CHUNK, seed, weights, few):
        if len(document.words) < shortest.get(name, 0):
            continue
        ids = [1, *(words[w] for w in document.words), 2]
        value = np.full(len(ids), OTHER, dtype=np.float32)
        value[np.array(document.answers, dtype=int) + 1] = min(1.0, most / max(1, len(document.answers)))
        value[0] = 0.0
        place = next((r for r in open_rows if free[r] >= len(ids)), None)
        if place is None:
            place = len(rows)
            rows.append([])
            free.append(LENGTH)
            open_rows = [*(r for r in open_rows[-30:] if free[r] >= 8), place]
        rows[place].append((ids, value))
        free[place] -= len(ids)
    ids = np.zeros((len(rows), LENGTH), dtype=np.int64)
    part = np.full((len(rows), LENGTH), -1, dtype=np.int64)
    value = np.zeros((len(rows), LENGTH), dtype=np.float32)
    for r, row in enumerate(rows):
        at = 0
        for k, (one, weight) in enumerate(row):
            ids[r, at : at + len(one)], value[r, at : at + len(one)], part[r, at : at + len(one)] = one, weight, k
            at += len(one)
    order = rng(seed, "language batches").permutation(len(rows))
    for start in range(0, len(rows) - ROWS + 1, ROWS):
        chosen = order[start : start + ROWS]
        yield torch.from_numpy(ids[chosen]), torch.from_numpy(part[chosen]), torch.from_numpy(value[chosen])


def own_document(part: torch.Tensor) -> torch.Tensor:
    """Attention mask [rows, 1, LENGTH, LENGTH]: earlier words of the same document."""
    same = part[:, :, None] == part[:, None, :]
    return (same & torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril())[:, None]


def rebalance(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """Factors on the corpus weights: up to 4 for a behaviour that fails, 0.2 for one that is mastered."""
    factors = {}
    for name, behaviour in BEHAVIOURS.items():
        missing = 1 - figures.get(name, {}).get(behaviour.figure, 1.0) if behaviour.deterministic else 0.0
        factors[name] = float(np.clip(0.2 + 8 * missing, 0.2, 4.0))
    return factors


def run(network: Any, words: dict[str, int], stage: Stage, seed: int, save: Callable[[], None]) -> int:
    """Train `network` in place for one stage; returns the number of words seen."""
    made = stage.optimisers(network)
    factors = rebalance(evaluate(network, words, 100, derive(seed, "check"), stage.words))
    step, tokens, chunk, began = 0, 0, 0, time.time()
    while step < stage.steps:
        chunk += 1
        weights = {name: factors.get(name, 1.0) * stage.boost.get(name, 1.0) for name in BEHAVIOURS}
        drawn = derive(seed, "language train", stage.name, chunk)
        for ids, part, value in batches(words, weights, drawn, stage.most, stage.words, stage.shortest):
            logits = network(input_ids=ids, attention_mask=own_document(part), use_cache=False).logits[:, :-1]
            loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
            loss = (loss * value[:, 1:].flatten()).sum() / value[:, 1:].sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            share = step / stage.steps
            rate = min(1.0, (step + 1) / stage.warmup) * (stage.peak * (1 - share) + stage.final * share)
            for optimiser, factor in made:
                for group in optimiser.param_groups:
                    group["lr"] = rate * factor
                optimiser.step()
                optimiser.zero_grad()
            step, tokens = step + 1, tokens + int((ids > 0).sum())
            if step % CHECK == 0 or step == stage.steps:
                figures = evaluate(network, words, 100, derive(seed, "check"), stage.words)
                factors = rebalance(figures)
                speed = tokens / (time.time() - began)
                log.info("%s step %d tokens %d loss %.3f, %.0f tok/s", stage.name, step, tokens, loss.item(), speed)
                log.info(" ".join(f"{n}={f['accuracy']:.2f}/{f['mass']:.2f}" for n, f in figures.items()))
                save()
                if stage.until and figures[stage.until]["accuracy"] > MASTERED:
                    return tokens
            if step == stage.steps:
                break
    return tokens


def train(seed: int = 0, out: Path | None = None) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Train the network through all `STAGES`; with `out`, weights are saved there at every check.

    Returns
    -------
    network, configuration, figures
        Trained in evaluation mode; both dictionaries as they ship.
    """
    words = build_tokenizer(vocabulary()).get_vocab()
    network = build_network(len(words) - len(SPECIAL), seed)
    tokens = 0
    for stage in STAGES:
        tokens += run(network, words, stage, seed, (lambda: network.save_pretrained(out)) if out else lambda: None)
    return network, network.config.to_dict(), figures(network, words, tokens)


def figures(network: Any, words: dict[str, int], tokens: int = 0, n: int = 400) -> dict[str, Any]:
    """What a trained network reaches on `n` held-out prompts per behaviour, and on two hops that it never saw."""
    answers = TWO_HOP["person_language"][1]
    never = [Prompt((who, "speaks"), (), answers[who], "english", (answers[who],), {}) for who in HELD_OUT]
    return {
        "behaviours": evaluate(network, words, n),
        "two_hop_never_seen": {**score(network, words, never), "n": len(never)},
        "prompts": n,
        "tokens": tokens,
    }
