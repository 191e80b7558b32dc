"""Why one prediction: which parts of the input it rests on."""

import numpy as np
import torch

from microtome.attribute import Attribution, deletion_test, gradient, integrated_gradients, occlusion
from microtome.attribute.attribution import highlight_values
from microtome.evidence import Finding
from microtome.study.blocks import Bars, Images, Section, Text, Tokens
from microtome.study.context import Context

PROMPTS, SHOWN = 32, 4


def attribution(context: Context) -> Section:
    """Integrated gradients, gradient times input and occlusion on the task, judged by deletion against random places."""
    subject, task = context.subject, context.material.task[:PROMPTS]
    image = task.kind == "image"
    found: list[Attribution] = [
        integrated_gradients(subject, task, baseline="corrupt" if not image else "mean", steps=16),
        gradient(subject, task, times="input"),
        occlusion(subject, task, baseline="mean", size=4 if image else 1),
    ]
    tests = [deletion_test(subject, task, a, draws=19, seed=context.seed) for a in found]
    lost = [float(t.estimate.value) for t in tests]  # type: ignore[union-attr]
    chance = [float(np.mean(t.nulls[0].statistics)) for t in tests]
    best = int(np.argmax(lost))
    bars = Bars("Metric lost when a fifth of the input is deleted, by whose advice", [a.method for a in found], lost,
                [t.estimate.low for t in tests], [t.estimate.high for t in tests], chance, tests[0].estimate.unit)  # type: ignore[union-attr]
    lead_finding = tests[best]
    finding = Finding(lead_finding.claim, lead_finding.estimate, (*lead_finding.nulls, *context.twin_null("attribution")),
                      lead_finding.controls, None, lead_finding.provenance, lead_finding.alpha)  # fmt: skip
    audit = found[0].relative_residual
    note = Text(f"Integrated gradients missed completeness by {100 * float(audit.median()):.2g}% (median over prompts). "  # type: ignore[union-attr]
                "Completeness holds on any network, so it is no evidence; the deletion test is.")  # fmt: skip
    blocks = [bars, *_pictures(context, found[best]), note]
    unit = tests[0].estimate.unit  # type: ignore[union-attr]
    lead = (f"Deleting the fifth of the input that {found[best].method} points at costs {lost[best]:.2f} {unit}, "
            f"random places {chance[best]:.2f}.")  # fmt: skip
    return Section("attribution", "Why this prediction", lead, [finding], blocks)


def _pictures(context: Context, found: Attribution) -> list:
    if found.tokens is not None and found.mask is not None:
        tokens, values = found.tokens[:SHOWN], []
        for i in range(min(SHOWN, len(found))):
            values.append(highlight_values(found, i)[found.mask[i].numpy()].tolist())
        answers = context.material.task.answers[:SHOWN]
        captions = [f"answer: {a}" for a in answers] if isinstance(answers, list) else []
        return [Tokens(f"What the prediction rests on ({found.method}; blue for, orange against)", tokens, values, captions)]
    if context.material.task.kind == "image":
        raw = context.material.task.clean[: 2 * SHOWN]
        low, high = raw.amin(), raw.amax()
        pixels = ((raw - low) / (high - low) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).tolist()
        overlays = [highlight_values(found, i).tolist() for i in range(len(pixels))]
        return [Images(f"What the prediction rests on ({found.method})", pixels, overlays=overlays)]
    return []
