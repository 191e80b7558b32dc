"""The headline statistics of a study, cheap enough to compute on every randomised twin as well."""

import warnings
from typing import Any

import numpy as np
import torch

from microtome.attribute.deletion_test import deletion_test
from microtome.attribute.integrated_gradients import integrated_gradients
from microtome.decompose import topk_sae
from microtome.decompose.data import FewRows
from microtome.describe import predicate_explainer, token_texts
from microtome.errors import Degenerate
from microtome.read.difference_in_means import difference_in_means
from microtome.search.selective_units import selective_units
from microtome.study.context import some_rows
from microtome.study.material import Material
from microtome.study.naming import liveliest, named
from microtome.study.shown import enough
from microtome.trace.attribution_patching import attribution_patching
from microtome.trace.nodes import Node

#: Samples recorded and prompts run for the statistics of one network.
SAMPLES, PROMPTS, ROWS, DESCRIBED = 160, 24, 2500, 80
#: What each statistic says, as shown in the report.
MEANING = {
    "task": "the network prefers the right answer (mean logit difference, in spreads of the logits)",
    "units": "single units tell named properties (mean held-out AUROC of the best unit)",
    "latents": "single latents of a small dictionary tell named properties (mean held-out AUROC)",
    "words": "descriptions made from activations alone name marked properties (count, quick form)",
    "probe": "a direction tells named properties (mean held-out AUROC)",
    "patching": "one component carries the task (largest first-order effect, in spreads of the logits)",
    "attribution": "the places pointed at matter more than random ones (drop, in spreads of the logits)",
}


def headline(found: Material, seed: int = 0) -> dict[str, float]:
    """One number per question, larger = more structure.

    Parameters
    ----------
    found : Material
        Of the subject or of a twin.
    seed : int
        Of splits and random places: the same for the subject and all twins.
    """
    subject, task = found.subject, found.task[:PROMPTS]
    stimuli = enough(subject, found.stimuli[:SAMPLES], 2 * ROWS)
    bound = subject.bind(task, metric="logit_difference")
    logits = subject.run(bound.inputs, logits=bound.metric.where).logits
    logits = bound.metric.read(logits)
    spread = float(logits.std(dim=-1).mean())  # random weights have small logits: only effects beside their spread compare
    out = {"task": float(bound.metric(logits).mean())}
    try:
        out["patching"] = _largest(attribution_patching(subject, task, nodes=components(found), metric="logit_difference"))
    except Degenerate:  # clean and corrupt prompts give the same output: nothing can be carried
        out["patching"] = 0.0
    pointed = integrated_gradients(subject, task, baseline="mean" if task.kind == "image" else "corrupt", steps=4)
    told = deletion_test(subject, task, pointed, draws=4, seed=seed)
    out["attribution"] = float(told.estimate.value - np.mean(told.nulls[0].statistics))  # type: ignore[union-attr]
    out = {name: value / spread for name, value in out.items()}
    sites = [*dict.fromkeys([*found.neurons, found.stream])]
    both = with_classes(subject.record(stimuli, sites, positions=found.positions), stimuli)  # type: ignore[arg-type]
    if len(both) > ROWS:
        both = some_rows(both, ROWS, seed)
    recording, stream = both[found.neurons], both[found.stream]
    if recording.properties:
        units = selective_units(recording, draws=1, seed=seed)
        out["units"] = float(units.estimate.value)  # type: ignore[union-attr]
        out["latents"] = _latents(stream, seed)
        if "token" in both.index.columns:
            out["words"] = _words(recording, subject, seed)
        out["probe"] = _probes(stream, list(units.table["property"])[:8], seed)  # type: ignore[index]
    return out


def _largest(effects: Any) -> float:
    return float(np.abs(effects.change.mean(axis=1)).max())


def _latents(stream: Any, seed: int) -> float:
    """Mean held-out AUROC of the best latents of a quickly trained dictionary."""
    width = stream.matrix().shape[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewRows)
        sae = topk_sae(stream, latents=2 * width, k=min(8, width), steps=60, batch=min(256, len(stream)), seed=seed)
    return float(selective_units(stream.encode(sae), draws=1, seed=seed).estimate.value)  # type: ignore[union-attr]


def _words(recording: Any, subject: Any, seed: int) -> float:
    """How many marked properties are named by one-statement descriptions of the liveliest neurons."""
    site, units = liveliest(recording, DESCRIBED)
    tokens = token_texts(subject)
    found = predicate_explainer(recording[site].blinded(), units=units, tokens=tokens, length=1, draws=99, seed=seed)
    return float(len(named(found, recording[site], tokens)))


def _probes(recording: Any, properties: list[str], seed: int) -> float:
    values = []
    for name in properties:
        try:
            values.append(difference_in_means(recording, name, seed=seed).metrics["auroc"])
        except Degenerate:
            continue
    return float(np.mean(values)) if values else 0.5


def components(found: Material) -> Any:
    """Heads and MLPs of a transformer, channels of a convolutional network."""
    subject = found.subject
    if any(s.block is not None for s in subject.sites("*attn.z")):
        return "component"
    with torch.no_grad():
        run = subject.run(subject.inputs(found.stimuli[:2]), record=found.neurons)
    return [Node(s, unit=c) for s in found.neurons for c in range(run[s].shape[1])]


def with_classes(recording: Any, stimuli: Any) -> Any:
    """The recording with the classes of an image table (label, shape, colour...) as properties."""
    if stimuli.kind != "image":
        return recording
    sample = recording.index["sample"].to_numpy()
    labels = {}
    marked = {p.partition(":")[0] for p in recording.properties}  # masks such as "shape:square" say it already
    columns = [c for c in stimuli.table.columns if c not in marked and not (c == "label" and marked)]
    for column in columns:
        values = stimuli.table[column].to_numpy()
        kinds = sorted(set(values.tolist()), key=str)
        if column != "document" and 2 <= len(kinds) <= 12:
            labels |= {f"{column}: {kind}": values[sample] == kind for kind in kinds}
    return recording.add_labels(labels) if labels else recording
