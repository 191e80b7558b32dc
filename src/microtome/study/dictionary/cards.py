"""Pages of units: words, contexts, density, effects on the logits, neighbours."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.decompose.latents import Latents, neighbours
from microtome.describe import predicate_explainer, token_texts, windows
from microtome.study.blocks import Section, Text, Units
from microtome.subject.replay import head_of, main_trunk

CONTEXTS, PROMOTED, NEAR, IMAGES = 5, 5, 4, 6
#: Sites whose values are added to the residual stream, or are it: their directions act on the logits.
WRITES = ("embed", "resid_pre", "resid_mid", "resid_post", "attn.out", "mlp.out", "final_norm")


def cards(
    basis: Any, recording: Any, found: Latents, chosen: list[int], *, subject: Any = None, stimuli: Any = None, seed: int = 0
) -> Section:
    """A card for each chosen unit."""
    if not chosen:
        return Section("units", "Units", "No latent is active on these rows.", [], [Text("There is nothing to show.")])
    names = basis.names or [f"latent {i}" for i in range(basis.dim)]
    made = {
        i: {
            "name": str(names[i]),
            "text": _used(found, i),
            "density": {"edges": found.edges(i), "counts": found.counts[i].tolist()},
        }
        for i in chosen
    }
    if basis.directions is not None and basis.dim > 1:
        cosine, place = neighbours(basis.directions, NEAR)
        for i in chosen:
            made[i]["neighbours"] = [[str(names[j]), float(c)] for j, c in zip(place[i].tolist(), cosine[i].tolist())]
        for i, promoted in _promoted(basis, subject, chosen).items():
            made[i]["logits"] = promoted
    codes = recording.encode(basis)
    told = ""
    if "token" in recording.index.columns:
        tokens = token_texts(subject) if getattr(subject, "tokenizer", None) is not None else None
        _worded(made, codes, [i for i in chosen if found.rate[i] > 0], tokens, seed)
        told = "; words were found without a language model and are scored on documents that they were not found on"
    elif stimuli is not None and getattr(stimuli, "kind", "") == "image":
        for i, pictures in _pictures(codes, stimuli, chosen).items():
            made[i]["images"] = pictures
    lead = f"{len(chosen)} units, those that write most first{told}."
    return Section("units", "Units", lead, [], [Units("What each unit shows", list(made.values()))])


def _worded(made: dict[int, dict], codes: Any, alive: list[int], tokens: Sequence[str] | None, seed: int) -> None:
    """Adds the description and the contexts of units that are active."""
    if not alive:
        return
    for i, found in zip(alive, predicate_explainer(codes.blinded(), units=alive, tokens=tokens, seed=seed)):
        words = found.text if found.verdict == "described" else "no short predicate describes it"
        made[i] |= {
            "text": f"{words[0].upper()}{words[1:]}. {made[i]['text']}", "score": found.score.value, "low": found.score.low,
            "high": found.score.high, "null": float(np.quantile(found.null.statistics, 0.95)), "verdict": found.verdict,
        }  # fmt: skip
    for i, lines in zip(alive, windows(codes, units=alive, tokens=tokens, count=CONTEXTS, bands=(), seed=seed).values()):
        top = max((max(map(abs, w.activations)) for w in lines), default=1.0) or 1.0
        made[i]["tokens"] = [list(w.tokens) for w in lines]
        made[i]["values"] = [[float(a) / top for a in w.activations] for w in lines]


def _used(found: Latents, i: int) -> str:
    return f"Active on {found.rate[i]:.2%} of rows, {found.mean[i]:.3g} on average, {found.largest[i]:.3g} at most."


def effects(basis: Any, subject: Any, chosen: list[int]) -> Tensor | None:
    """What directions do to the logits, Tensor[chosen, vocab]; None where they do not write the residual stream.

    Half of what the head makes of a direction less half of what it makes of its opposite, centred over the vocabulary: through
    a norm this does not depend on the direction's length.
    """
    site = str(getattr(basis, "writes", None) or basis.site)
    writes = any(site == s or site.endswith("." + s) for s in WRITES)
    if not writes or subject is None or main_trunk(subject) is None or head_of(subject) is None:
        return None
    d = basis.directions.detach()[chosen].to(next(subject.module.parameters()))
    logits: Tensor = ((subject.unembed(d) - subject.unembed(-d)) / 2).float().cpu()
    return logits - logits.mean(1, keepdim=True)


def _promoted(basis: Any, subject: Any, chosen: list[int]) -> dict[int, list]:
    """Tokens whose logits a direction raises and lowers most."""
    logits = effects(basis, subject, chosen) if getattr(subject, "tokenizer", None) is not None else None
    if logits is None:
        return {}
    texts, out = token_texts(subject), {}
    for i, row in zip(chosen, logits[:, : len(texts)]):
        up, down = row.topk(min(PROMOTED, len(row))), (-row).topk(min(2, len(row)))
        out[i] = [[texts[t], v] for t, v in zip(up.indices.tolist(), up.values.tolist())]
        out[i] += [[texts[t], -v] for t, v in zip(down.indices.tolist(), down.values.tolist())]
    return out


def _pictures(codes: Any, stimuli: Any, chosen: list[int]) -> dict[int, list]:
    """The images on which each unit is largest, once each."""
    sample = torch.as_tensor(codes.index["sample"].to_numpy().copy())
    best = torch.full((int(sample.max()) + 1, len(chosen)), -torch.inf)
    done = 0
    for part in codes.batches(2048):
        rows = sample[done : done + len(part)]
        best = best.scatter_reduce(0, rows[:, None].expand(-1, len(chosen)), part[:, chosen].float().cpu(), "amax")
        done += len(part)
    raw = torch.as_tensor(stimuli.inputs)
    low, high = float(raw.min()), float(raw.max())
    out = {}
    for j, i in enumerate(chosen):
        top = best[:, j].topk(min(IMAGES, len(best)))
        places = [int(s) for s, v in zip(top.indices, top.values) if v > 0]
        shown = ((raw[places] - low) / max(high - low, 1e-9) * 255).round().expand(-1, 3, -1, -1)
        out[i] = shown.permute(0, 2, 3, 1).tolist()
    return out
