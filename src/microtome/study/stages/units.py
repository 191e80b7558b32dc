"""Which units tell which properties."""

from typing import Any

from microtome.evidence import Finding
from microtome.search.selective_units import selective_units
from microtome.study.blocks import Section, Table, Text
from microtome.study.context import ROWS, Context, some_rows

#: A unit tells a property when it separates it this well on unseen documents.
TELLS = 0.9


def units(context: Context) -> Section:
    """Property search over all neurons, judged on other documents, against shifted labels and twins."""
    recording = some_rows(context.neurons, ROWS, context.seed)
    if not recording.properties:
        text = Text("The data has no marked properties, so there was nothing to search for.")
        return Section("units", "Units of properties", "No properties were marked in the data.", [], [text])
    found = selective_units(recording, draws=99, seed=context.seed)
    told, total = count(found), len(found.table)  # type: ignore[arg-type]
    context.held["told"] = told
    twin = context.subject.twin("reinit", seed=1)
    silent = selective_units(some_rows(_twin_recording(context, twin), ROWS, context.seed), draws=99, seed=context.seed)
    context.held["twin told"] = count(silent)
    finding = Finding(
        f"{told} of {total} named properties have a neuron that tells them (held-out AUROC at least {TELLS}; a random twin: "
        f"{context.held['twin told']})",
        estimate=found.estimate, nulls=(*found.nulls, *context.twin_null("units")), table=found.table,
        controls={"neurons that tell a property, random twin": float(context.held["twin told"])},
        provenance=found.provenance, alpha=found.alpha,
    )  # fmt: skip
    best = found.table.sort_values("auroc", ascending=False)  # type: ignore[union-attr]
    rows = [[r["property"], r["unit"], "rises" if r["sign"] > 0 else "falls", r["auroc"], r["low"], r["high"], r["rival"],
             r["specificity"], int(r["positives"]), r["q"]] for _, r in best.iterrows()]  # fmt: skip
    table = Table(
        "The best neuron for each property", ["property", "unit", "direction", "AUROC", "low", "high", "nearest other property",
                                              "specificity", "rows with it", "q"], rows,
        "Chosen on half of the documents, judged on the other half. Specificity: how much better it tells this property than "
        "the nearest other one; near 0 or below means that the unit is not about this property alone.",
    )  # fmt: skip
    return Section("units", "Units of properties", finding.claim[0].upper() + finding.claim[1:] + ".", [finding], [table])


def count(found: Finding) -> int:
    """Properties that a unit tells: held-out AUROC at least `TELLS` and significant after correction."""
    table: Any = found.table
    return int(((table["auroc"] >= TELLS) & (table["q"] <= found.alpha)).sum())


def _twin_recording(context: Context, twin: Any) -> Any:
    from microtome.study.headline import SAMPLES, with_classes

    stimuli = context.material.stimuli[: 4 * SAMPLES]
    return with_classes(twin.record(stimuli, context.material.neurons, positions=context.material.positions), stimuli)
