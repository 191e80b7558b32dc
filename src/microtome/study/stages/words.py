"""What units respond to, in words, without any language model."""

from typing import Any

import numpy as np

from microtome.describe import predicate_explainer, token_texts, windows
from microtome.evidence import Estimate, Finding
from microtome.study.blocks import Section, Table, Text, Units
from microtome.study.context import Context, some_rows
from microtome.study.naming import known, liveliest, named

ROWS, DESCRIBED, CARDS = 8000, 160, 9


def words(context: Context) -> Section:
    """Predicates for a sample of neurons, scored on unseen samples; how many marked properties they name."""
    recording = some_rows(context.neurons, ROWS, context.seed)
    if "token" not in recording.index.columns:
        text = Text("Descriptions in words are made for token data; for images see the units of properties above.")
        return Section("words", "Neurons in words", "The data has no tokens.", [], [text])
    site, chosen = liveliest(recording, DESCRIBED)
    tokens = token_texts(context.subject)
    found = predicate_explainer(recording[site].blinded(), units=chosen, tokens=tokens, seed=context.seed)
    hits, marked = named(found, recording[site], tokens), known(recording)
    context.held |= {"named": len(hits), "marked": len(marked)}
    twin = float(np.mean(context.draws.get("words", [0.0])))
    finding = Finding(
        f"descriptions made from activations alone name {len(hits)} of {len(marked)} properties that were marked in the data",
        estimate=_share(len(hits), len(marked)), nulls=context.twin_null("words"), table=found.table,
        controls={"mean held-out correlation of the descriptions": found.estimate},
        provenance=found.provenance,
        notes=("Neurons of a random network can be described too, as lists of tokens: its embeddings tell tokens apart. Only "
               "what is named beyond that counts.",),
    )  # fmt: skip
    rows = [[p, d.unit, d.text, f1] for p, (d, f1) in sorted(hits.items(), key=lambda x: -x[1][1])]
    blocks: list = [Units("The best described neurons", [_card(recording[site], d, tokens) for d in found.described[:CARDS]])]
    if rows:
        blocks.insert(0, Table(
            "Marked properties that a description names", ["property", "unit", "description", "F1"], rows,
            "The descriptions were found from the activations alone; the marks were only used to check them.",
        ))  # fmt: skip
    strong = sum(d.score.value >= 0.5 for d in found.described)
    lead = (f"Descriptions made from activations alone name {len(hits)} of {len(marked)} marked properties (quick form on "
            f"random twins: {twin:.1f} on average); {strong} of {len(found)} neurons have one that predicts them well on "
            "unseen samples.")  # fmt: skip
    return Section("words", "Neurons in words", lead, [finding], blocks)


def _share(hits: int, total: int) -> Estimate:
    from scipy.stats import binomtest

    if not total:
        return Estimate(0.0, n=0, unit="share of marked properties", method="nothing was marked: no interval")
    low, high = binomtest(hits, total).proportion_ci(method="wilson")
    return Estimate(hits / total, float(low), float(high), n=total, unit="share of marked properties", method="Wilson")


def _card(recording: Any, description: Any, tokens: list[str]) -> dict[str, Any]:
    unit = int(description.unit.rpartition("[")[2].rstrip("]"))
    lines = windows(recording, units=[unit], tokens=tokens, signs=[description.sign])[description.unit][:4]
    largest = max((max(map(abs, w.activations)) for w in lines), default=1.0) or 1.0
    score: Estimate = description.score
    return {
        "name": description.unit, "text": description.text, "score": score.value, "low": score.low, "high": score.high,
        "null": float(np.quantile(description.null.statistics, 0.95)), "verdict": description.verdict,
        "tokens": [list(w.tokens) for w in lines], "values": [[float(a) / largest for a in w.activations] for w in lines],
        "logits": [],
    }  # fmt: skip
