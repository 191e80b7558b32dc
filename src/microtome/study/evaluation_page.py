"""Methods of attribution side by side, as one page: scores beside a random map, paired differences, axioms, and the maps."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from microtome.attribute.judge.evaluate import RANDOM, Evaluation
from microtome.evidence import Finding
from microtome.study.blocks import Bars, Block, Section, Table, Text
from microtome.study.task_page import task_page

#: Answers to the question which measures mean what; the report says it once.
FAMILIES = {
    "faithfulness": "does the output follow the map when places go or come",
    "robustness": "does the map stay when the input hardly moves",
    "localisation": "does the map lie where the evidence is",
    "complexity": "is the map concentrated, whatever it points at",
    "randomisation": "does the map change when what was learned is destroyed, or when another class is asked",
}


def evaluation_page(
    subject: Any, task: Any, found: Evaluation, cards: Mapping[str, Finding], *, seed: int = 0, masks: str = ""
) -> str:
    """One self-contained HTML page about an evaluation.

    Parameters
    ----------
    subject, task, found
        What was judged.
    cards : mapping of str to Finding
        Axiom cards by method; may be empty.
    seed : int, default 0
    masks : str, default ""
        Which masks said where the evidence lies.

    Returns
    -------
    str

    Raises
    ------
    ShapeError
        When a map does not fit what was shown.
    """
    sections = [_scores(found), _differences(found), *_axioms(cards), *_maps(subject, task, found)]
    any_map = next(iter(found.maps.values()))
    facts = {
        "groups": f"{len(next(iter(found.scores.values())))}, averaged before anything is compared",
        "methods": ", ".join(found.methods), "measures": ", ".join(m.name for m in found.measures),
        **({"masks": masks} if masks else {}),
    }  # fmt: skip
    return task_page("Which method is right?", subject, task, any_map, sections, facts, seed=seed)


def _scores(found: Evaluation) -> Section:
    """One chart per measure: methods with intervals, the random map as what chance gives."""
    blocks: list[Block] = []
    table = found.table
    for measure in found.measures:
        rows = table[(table.measure == measure.name) & (table.method != RANDOM)]
        chance = found.estimate(RANDOM, measure.name).value
        title = f"{measure.name.replace('_', ' ')} ({measure.better} is better): {FAMILIES.get(measure.family, measure.family)}"
        blocks.append(Bars(title, rows.method.tolist(), rows["mean"].tolist(), rows.low.tolist(), rows.high.tolist(), chance))
    finding = replace(found.finding(), controls={}, table=None)  # both stand on the page already
    lead = f"{finding.claim[0].upper()}{finding.claim[1:]}."
    return Section("scores", "How the methods score", lead, [finding], blocks)


def _differences(found: Evaluation) -> Section:
    """Paired differences with corrected p-values."""
    table = found.differences()
    columns = ["measure", "a", "b", "better", "a - b", "low", "high", "q"]
    rows = [[r.measure.replace("_", " "), r.a, r.b, r.better or "neither", r.difference, r.low, r.high, r.q]
            for r in table.itertuples()]  # fmt: skip
    told = int((table.better != "").sum())
    notes = ("Each difference is taken within groups of dependent examples. q: signs of whole groups flipped, corrected over "
             "all rows (Benjamini, Hochberg); a better method is named where q is at most 0.05.")  # fmt: skip
    return Section("differences", "Which differences are more than chance", f"{told} of {len(rows)} pairs can be told apart.",
                   [], [Table("Paired differences", columns, rows, notes)])  # fmt: skip


def _axioms(cards: Mapping[str, Finding]) -> list[Section]:
    if not cards:
        return []
    columns = ["axiom", *cards]
    tables = {name: card.table.set_index("axiom") for name, card in cards.items() if card.table is not None}
    names: Sequence[str] = list(dict.fromkeys(a for t in tables.values() for a in t.index))
    rows = [[a, *("holds" if bool(t.holds.get(a)) else "broken" for t in tables.values())] for a in names]
    note = Text("Measured on small networks of which the answer is known. No complete and linear method can tell for all "
                "networks whether an output rises with a feature: ask the network for that.")  # fmt: skip
    return [Section("axioms", "Which axioms they hold", f"{len(names)} axioms, {len(cards)} methods.", [],
                    [Table("Axioms", columns, rows), note])]  # fmt: skip


def _maps(subject: Any, task: Any, found: Evaluation) -> list[Section]:
    """The maps themselves, method by method."""
    from microtome.study.attribution_page import pictures

    blocks = [block for name, one in found.maps.items() if name != RANDOM for block in pictures(subject, task, one, name, 6)]
    return [Section("maps", "The maps", "The first examples, method by method.", [], blocks)] if blocks else []
