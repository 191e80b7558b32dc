"""Train the language organism: ``python -m microtome.organisms.language.train --out DIR``.

Next-word prediction on freshly generated documents. Words that a perfect reader can tell weigh more than the rest, and the
behaviours that lag on a check every few hundred steps are shown more often until they catch up.
"""

import argparse
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from microtome.organisms.language.evaluate import evaluate
from microtome.organisms.language.network import SPECIAL, build_network, build_tokenizer
from microtome.rng import derive, rng
from microtome.stimuli.language import BEHAVIOURS, vocabulary
from microtome.stimuli.language.world import documents

log = logging.getLogger(__name__)

CHUNK = 6000  # documents generated at once
LENGTH, ROWS = 64, 24  # documents are packed into rows of this length, this many rows a step
CHECK = 300  # steps between checks
OTHER = 0.1  # weight of the words that cannot be told


def batches(words: dict[str, int], weights: dict[str, float], seed: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """One chunk of the corpus, packed: ids, document number in the row, weight of predicting each id; all [rows, LENGTH]."""
    rows: list[list[tuple[list[int], np.ndarray]]] = []
    free: list[int] = []
    open_rows: list[int] = []
    for _, document in documents(CHUNK, seed, weights):
        ids = [1, *(words[w] for w in document.words), 2]
        value = np.full(len(ids), OTHER, dtype=np.float32)
        value[np.array(document.answers, dtype=int) + 1] = 1.0
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
    """Factors on the corpus weights: up to 4 for a behaviour that fails, 0.4 for one that is mastered."""
    factors = {}
    for name, behaviour in BEHAVIOURS.items():
        reached = figures.get(name, {})
        missing = 1 - max(reached.get("accuracy", 1.0), 0.0) if behaviour.deterministic else 0.0
        factors[name] = float(np.clip(0.4 + 8 * missing, 0.4, 4.0))
    return factors


def rate(step: int, steps: int, warmup: int = 200, decay: float = 0.4) -> float:
    """Share of the peak learning rate: warm up, hold, then fall linearly to zero over the last `decay` share of the steps."""
    return min(1.0, (step + 1) / warmup, (steps - step) / (decay * steps))


def _optimisers(network: torch.nn.Module) -> list[tuple[torch.optim.Optimizer, float]]:
    """Muon for the matrices of the blocks, which halves the steps needed, AdamW for the rest; with their peak rates."""
    matrices = [p for name, p in network.named_parameters() if "layers" in name and p.ndim == 2]
    rest = [p for name, p in network.named_parameters() if not ("layers" in name and p.ndim == 2)]
    muon = torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [(muon, 1e-2), (torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0), 3e-3)]


def train(out: Path, steps: int, seed: int, start: Path | None = None) -> dict[str, Any]:
    """Train and save to `out` at every check; returns the figures of the last one."""
    from transformers import LlamaForCausalLM

    tokenizer = build_tokenizer(vocabulary())
    words = tokenizer.get_vocab()
    network = build_network(len(words) - len(SPECIAL), seed)
    if start is not None:
        network = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32)
    optimisers = _optimisers(network)
    step, tokens, began, figures, chunk = 0, 0, time.time(), {}, 0
    factors = rebalance(evaluate(network, words, 100, derive(seed, "check"))) if start else {}
    while step < steps:
        chunk += 1
        for ids, part, value in batches(words, factors, derive(seed, "language train", chunk)):
            logits = network(input_ids=ids, attention_mask=own_document(part), use_cache=False).logits[:, :-1]
            loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
            loss = (loss * value[:, 1:].flatten()).sum() / value[:, 1:].sum()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            for optimiser, peak in optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = peak * rate(step, steps)
                optimiser.step()
                optimiser.zero_grad()
            step, tokens = step + 1, tokens + int((ids > 0).sum())
            if step % CHECK == 0 or step == steps:
                figures = evaluate(network, words, 100, derive(seed, "check"))
                factors = rebalance(figures)
                spent = time.time() - began
                log.info("step %d tokens %d loss %.4f %.0f s %.0f tok/s", step, tokens, loss.item(), spent, tokens / spent)
                log.info(" ".join(f"{n}={f['accuracy']:.2f}/{f['mass']:.2f}" for n, f in figures.items()))
                network.save_pretrained(out)
                tokenizer.save_pretrained(out)
            if step == steps:
                break
    return {"steps": steps, "tokens": tokens, "seed": seed, "seconds": round(time.time() - began)}


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description="Train the language organism.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=16000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, default=None, help="continue from the weights in this folder")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    train(given.out, given.steps, given.seed, given.start)


if __name__ == "__main__":
    main()
