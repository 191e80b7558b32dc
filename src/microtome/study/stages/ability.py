"""What the subject can do."""

import numpy as np

from microtome.evidence import Finding, Null, Provenance, cluster_bootstrap
from microtome.rng import rng
from microtome.study.blocks import Bars, Section, Table
from microtome.study.context import Context


def ability(context: Context) -> Section:
    """Accuracy on every task that applies, and the task that is traced."""
    found, subject = context.material, context.subject
    bound = subject.bind(found.task, metric="logit_difference")
    rows = bound.metric.where
    logits = subject.run(bound.inputs, logits=rows).logits
    logits = bound.metric.read(logits)
    value = bound.metric(logits).double().cpu().numpy()
    groups = np.asarray(bound.groups)
    estimate = cluster_bootstrap(value, groups, unit="nats", seed=context.seed)
    flips = rng(context.seed, "exchanged").choice([-1.0, 1.0], size=(999, len(value)))
    exchanged = (flips * value).mean(axis=1)
    nulls = (Null("answers and wrong answers exchanged at random", exchanged, float(value.mean()), "greater"),
             *context.twin_null("task"))  # fmt: skip
    finding = Finding(
        f"{subject.name} does the task '{found.task.name}': it prefers the right answer", estimate=estimate, nulls=nulls,
        controls={"share of prompts with the right answer first": float((value > 0).mean())},
        provenance=Provenance(subject=subject.fingerprint(), data=found.task.fingerprint(), seed=context.seed, forwards=1.0),
    )  # fmt: skip
    names = sorted(found.accuracy, key=found.accuracy.get, reverse=True)  # type: ignore[arg-type]
    bars = Bars("Share of prompts on which the answer is preferred to its counterfactual", names,
                [found.accuracy[n] for n in names], null=0.5)  # fmt: skip
    task = found.task[:6]
    blocks: list = [bars]
    if task.kind == "text":
        blocks.append(Table(f"Prompts of '{task.name}'", ["prompt", "answer", "counterfactual prompt", "wrong answer"],
                            [list(r) for r in zip(task.clean, task.answers, task.corrupt, task.wrong)]))
    lead = (f"The task traced below is '{found.task.name}', done on {100 * found.accuracy[found.task.name]:.0f}% of "
            f"{len(found.task)} prompts.")  # fmt: skip
    return Section("ability", "What it can do", lead, [finding], blocks)
