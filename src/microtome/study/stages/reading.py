"""What each layer could already say: logit lens and probes."""

from microtome.errors import Degenerate, MicrotomeError
from microtome.evidence import Finding
from microtome.read import difference_in_means, logistic_probe, logit_lens, probe_test
from microtome.study.blocks import Bars, Lines, Section, Table
from microtome.study.context import Context, some_rows

ROWS, PROBED = 6000, 10


def reading(context: Context) -> Section:
    """Logit lens of the task over layers; probes for the most frequent properties at the middle site."""
    findings: list[Finding] = []
    blocks: list = []
    lead = ""
    try:
        lens = logit_lens(context.subject, context.material.task, draws=99, seed=context.seed)
        table = lens.table
        findings.append(Finding(lens.claim, lens.estimate, (*lens.nulls, *context.twin_null("task")), lens.controls, table,
                                lens.provenance, lens.alpha, lens.notes))  # fmt: skip
        layers = [s.split(".")[-2] for s in table["site"]]  # type: ignore[index]
        blocks.append(Lines("Answer minus wrong answer, read after each block", layers,
                            {"logit difference": table["logit_difference"].tolist()},  # type: ignore[index]
                            {"logit difference": table[["low", "high"]].values.tolist()}, "nats", "block"))  # type: ignore[index]
        lead = lens.claim[0].upper() + lens.claim[1:] + ". "
    except MicrotomeError as error:
        if not context.subject.trunks:
            lead = "There is no residual stream to read layer by layer. "
        else:
            raise error
    recording = some_rows(context.stream, ROWS, context.seed)
    rows, scored = [], []
    frequent = sorted(recording.properties, key=lambda p: -int(recording.labels(p).sum()))[:PROBED]
    for name in frequent:
        try:
            means = difference_in_means(recording, name, seed=context.seed)
            logistic = logistic_probe(recording, name, seed=context.seed)
        except Degenerate:
            continue
        rows.append([name, means.metrics["auroc"], logistic.metrics["auroc"], logistic.metrics["balanced_accuracy"]])
        scored.append((name, logistic))
    if rows:
        name, probe = max(scored, key=lambda x: x[1].metrics["auroc"])
        tested = probe_test(probe, recording, name, draws=99, seed=context.seed)
        findings.append(Finding(tested.claim, tested.estimate, (*tested.nulls, *context.twin_null("probe")), tested.controls,
                                tested.table, tested.provenance, tested.alpha, tested.notes))  # fmt: skip
        mean = sum(r[2] for r in rows) / len(rows)
        lead += f"A linear probe at {context.material.stream} reads {len(rows)} properties with AUROC {mean:.2f} on average."
        blocks.append(Bars(f"Held-out AUROC of a logistic probe at {context.material.stream}", [r[0] for r in rows],
                           [r[2] for r in rows], null=0.5))  # fmt: skip
        blocks.append(Table("Probes", ["property", "difference in means, AUROC", "logistic, AUROC", "balanced accuracy"], rows))
    return Section("reading", "What can be read off", lead.strip() or "Nothing could be read.", findings, blocks)
