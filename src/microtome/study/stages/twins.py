"""The same questions put to networks that learned nothing."""

import numpy as np

from microtome.engine import progress
from microtome.evidence import salmon_finding
from microtome.study.blocks import Bars, Section, Text
from microtome.study.context import Context
from microtome.study.headline import MEANING, headline


def twins(context: Context) -> Section:
    """Headline statistics of the subject and of its twins with re-drawn weights; the null of every later section."""
    context.observed = headline(context.material, context.seed)
    runs = []
    with progress(context.twins, "randomised twins") as advance:
        for i in range(context.twins):
            runs.append(headline(context.material.of(context.subject.twin("reinit", seed=i + 1)), context.seed))
            advance(1)
    context.draws = {name: [run[name] for run in runs] for name in context.observed}
    finding = salmon_finding(
        context.observed, {"reinit": {k: np.array(v) for k, v in context.draws.items()}},
        claim=f"what is said of {context.subject.name} could not have been said of a network with random weights",
        seed=context.seed,
    )  # fmt: skip
    table = finding.table
    survive = int(table["survives"].sum()) if table is not None and "survives" in table else 0
    names = list(context.observed)
    bars = Bars(
        "Subject, and the largest of its twins", [MEANING[n] for n in names], [context.observed[n] for n in names],
        null=[float(max(context.draws[n])) for n in names],
    )  # fmt: skip
    note = Text(
        f"Each statistic was computed on the subject and on {context.twins} copies of it with freshly drawn weights, "
        "same data, same seeds. A statistic survives when the subject beats the twins after correction for the number of "
        "statistics. "
        "What does not survive can be had without any learning: do not read it as a discovery."
    )
    return Section("twins", "Would a random network have said the same?",
                   f"{survive} of {len(names)} statistics are beyond what {context.twins} random networks give.",
                   [finding], [bars, note])  # fmt: skip
