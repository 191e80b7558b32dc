"""What units respond to, in words, without any language model."""

from typing import Any

import numpy as np

from microtome.describe import predicate_explainer, token_texts, windows
from microtome.evidence import Estimate, Finding, Null
from microtome.study.blocks import Section, Table, Text, Units
from microtome.study.context import Context, some_rows
from microtome.study.headline import SAMPLES, with_classes

#: A description names a property when its predicate has at least this F1 for it on all rows.
NAMES = 0.7
ROWS, DESCRIBED, CARDS = 8000, 160, 9


def words(context: Context) -> Section:
    """Predicates for a sample of neurons, scored on unseen documents; how many planted properties they name."""
    recording = some_rows(context.neurons, ROWS, context.seed)
    if "token" not in recording.index.columns:
        text = Text("Descriptions in words are made for token data; for images see the units of properties above.")
        return Section("words", "Neurons in words", "The data has no tokens.", [], [text])
    site, chosen = _liveliest(recording)
    tokens = token_texts(context.subject)
    found = predicate_explainer(recording[site], units=chosen, tokens=tokens, seed=context.seed)
    twin = context.subject.twin("reinit", seed=1)
    stimuli = context.material.stimuli[: 4 * SAMPLES]
    other = some_rows(with_classes(twin.record(stimuli, [site]), stimuli), ROWS, context.seed)
    silent = predicate_explainer(other[site], units=_liveliest(other[[site]])[1], tokens=tokens, seed=context.seed)
    named, twin_named = _named(found, recording[site], tokens), _named(silent, other[site], tokens)
    known = [p for p in recording.properties if recording.labels(p).sum() >= 20]
    context.held |= {"named": len(named), "twin named": len(twin_named), "known": len(known)}
    strong = [d for d in found.described if d.score.value >= 0.5]
    twin_strong = [d for d in silent.described if d.score.value >= 0.5]
    scores = np.array([d.score.value for d in found])
    finding = Finding(
        f"{len(strong)} of {len(found)} neurons at {site} have a description in words that predicts them on unseen documents "
        f"(correlation at least 0.5; random twin: {len(twin_strong)})",
        estimate=found.estimate,
        nulls=(found.null, Null("units of a random twin, best statement of each",
                                np.array([d.score.value for d in silent]).reshape(-1), float(np.quantile(scores, 0.9)), "greater")),
        controls={"planted properties named without labels": float(len(named)),
                  "planted properties named in a random twin": float(len(twin_named)),
                  "planted properties": float(len(known))},
        table=found.table, provenance=found.provenance,
    )  # fmt: skip
    blocks: list = [Units("The best described neurons", [_card(recording[site], d, tokens) for d in found.described[:CARDS]])]
    if named:
        rows = [[p, d.unit, d.text, f1] for p, (d, f1) in sorted(named.items(), key=lambda x: -x[1][1])]
        blocks.insert(0, Table(
            "Planted properties that a description names", ["property", "unit", "description", "F1"], rows,
            "The descriptions were found from the activations alone; the properties were only used to check them.",
        ))  # fmt: skip
    lead = (f"{len(strong)} of {len(found)} neurons could be put in words that hold on unseen documents, and {len(named)} of "
            f"{len(known)} marked properties were named by them (in a random twin: {len(twin_named)}).")  # fmt: skip
    return Section("words", "Neurons in words", lead, [finding], blocks)


def _liveliest(recording: Any) -> tuple[str, list[int]]:
    """The middle site, and the units with the heaviest tails there: those that are off most of the time and then on."""
    sites = list(recording.sites)
    site = sites[len(sites) // 2]
    x = recording[site].matrix().double().numpy()
    z = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    order = np.argsort(-(z**4).mean(axis=0), kind="stable")
    return site, sorted(int(u) for u in order[:DESCRIBED])


def _named(found: Any, recording: Any, tokens: list[str]) -> dict[str, tuple[Any, float]]:
    """Property -> (description, F1) of the described unit whose predicate fits it best, where F1 is at least `NAMES`."""
    out: dict[str, tuple[Any, float]] = {}
    applied = [(d, np.asarray(d.applies(recording, tokens))) for d in found.described]
    for name in recording.properties:
        label = recording.labels(name)
        if label.sum() < 20:
            continue
        for d, fires in applied:
            both = float((fires & label).sum())
            f1 = 2 * both / max(1.0, float(fires.sum() + label.sum()))
            if f1 >= NAMES and f1 > out.get(name, (None, 0.0))[1]:
                out[name] = (d, f1)
    return out


def _card(recording: Any, description: Any, tokens: list[str]) -> dict[str, Any]:
    unit = int(description.unit.rpartition("[")[2].rstrip("]"))
    shown = windows(recording, units=[unit], tokens=tokens)[0]
    lines = shown[:4] if isinstance(shown, list) else list(shown)[:4]
    largest = max((max(map(abs, w.activations)) for w in lines), default=1.0) or 1.0
    score: Estimate = description.score
    return {
        "name": description.unit, "text": description.text, "score": score.value, "low": score.low, "high": score.high,
        "null": float(np.quantile(description.null.statistics, 0.95)), "verdict": description.verdict,
        "tokens": [list(w.tokens) for w in lines], "values": [[float(a) / largest for a in w.activations] for w in lines],
        "logits": [],
    }  # fmt: skip
