"""A sparse dictionary of the middle of the network, beside baselines that learn less or nothing."""

import torch

from microtome.decompose import pca, random_dictionary, topk_sae
from microtome.decompose.latents import latents as latents_of
from microtome.describe import predicate_explainer, token_texts
from microtome.errors import SiteError
from microtome.evidence import Finding
from microtome.search.selective_units import selective_units
from microtome.study.blocks import Bars, Graph, Lines, Section, Table, Text
from microtome.study.context import Context, some_rows
from microtome.study.dictionary.cards import cards
from microtome.study.dictionary.page import directions_map
from microtome.study.stages.units import TELLS, count
from microtome.subject.basis import Basis
from microtome.trace import attribution_graph
from microtome.trace.view import facts

ROWS, STEPS, ACTIVE, NODES, CARDS = 12_000, 400, 8, 16, 6
NOTES = (
    "Attention, norms and gates are held at this prompt's values, so where the network looks is not explained. Diamonds are "
    "what the dictionary leaves unexplained. Drag, zoom, filter; click a node for what it brings and gets."
)


def dictionary(context: Context) -> Section:
    """TopK autoencoder on the stream against PCA of as many numbers and a random dictionary; a map, and some latents."""
    recording = some_rows(context.stream, ROWS, context.seed)
    width = recording.matrix().shape[1]
    k = min(ACTIVE, width)
    latents = min(4 * width, max(2 * k, len(recording) // 8))
    sae = topk_sae(recording, latents=latents, k=k, steps=STEPS, batch=min(512, len(recording)), seed=context.seed)
    sae.save(context.folder / "bases" / "dictionary")
    flat = pca(recording, components=min(k, len(recording) - 1))
    chance = random_dictionary(recording, latents=latents, k=k, seed=context.seed)
    kept = {"sparse autoencoder": sae, f"PCA, {k} components": flat, "random dictionary": chance}
    bars = Bars(f"Variance explained with {k} numbers per row", list(kept), [1 - b.metrics["fvu"] for b in kept.values()])
    curve = sae.history
    axis = next(iter(curve))
    lines = Lines("Training", [str(v) for v in curve[axis]], {n: [float(x) for x in v] for n, v in curve.items() if n == "fvu"},
                  x_name=axis)  # fmt: skip
    used = latents_of(recording, sae, bins=24)
    chosen = [int(i) for i in used.energy.argsort(descending=True)[:CARDS] if used.rate[i] > 0]
    findings, blocks = [], [bars, lines, *directions_map(sae, used, "auto", context.seed).blocks]
    lead = (f"{latents} directions, {k} at a time, explain {100 * (1 - sae.metrics['fvu']):.0f}% of the variance of "
            f"{context.material.stream}; PCA with {k} components {100 * (1 - flat.metrics['fvu']):.0f}%.")  # fmt: skip
    if recording.properties:
        with torch.no_grad():
            codes = recording.encode(sae)
        found = selective_units(codes, draws=99, seed=context.seed)
        findings.append(Finding(found.claim.replace("single units", "single latents"), found.estimate,
                                (*found.nulls, *context.twin_null("latents")), found.controls, found.table, found.provenance,
                                found.alpha))  # fmt: skip
        lead += f" {count(found)} of {len(found.table)} properties have a latent that tells them (AUROC at least {TELLS})."  # type: ignore[arg-type]
        if "token" in recording.index.columns:
            best = found.table.nlargest(24, "auroc")  # type: ignore[union-attr]
            units = list(dict.fromkeys(map(_number, best["unit"])))  # the best first
            chosen = units[:CARDS]
            texts = predicate_explainer(codes.blinded(), units=sorted(units), tokens=token_texts(context.subject),
                                        seed=context.seed)  # fmt: skip
            by_unit = {_number(d.unit): d for d in texts}
            rows = []
            for _, r in best.iterrows():
                d = by_unit[_number(r["unit"])]
                rows.append([r["property"], r["unit"], r["auroc"], d.text if d.verdict == "described" else "undescribed",
                             d.score.value])  # fmt: skip
            blocks.append(Table("Latents that tell properties, and what they respond to in words",
                                ["property", "latent", "AUROC", "description", "held-out correlation"], rows))  # fmt: skip
    blocks += cards(sae, recording, used, chosen, subject=context.subject, seed=context.seed).blocks
    if context.subject.trunks and context.material.task.kind == "text":
        blocks.append(_graph(context, sae))
    return Section("dictionary", "Directions of the middle layer", lead, findings, blocks)


def _number(unit: str) -> int:
    """3 of "site/basis[3]"."""
    return int(unit.rpartition("[")[2].rstrip("]"))


def _graph(context: Context, sae: Basis) -> Graph | Text:
    """How the directions bring the answer of one prompt."""
    task = context.material.task[:1]
    bound = context.subject.bind(task)
    target = int(bound.answers[0]) if task.wrong is None else (int(bound.answers[0]), int(bound.wrong[0]))
    try:
        found = attribution_graph(context.subject, bound.inputs, [sae], target=target, nodes=NODES)
    except SiteError as error:
        return Text(f"No graph of one prompt through the directions: {error}")
    other = "" if task.wrong is None else f" rather than {task.wrong[0]}"
    title = f'One prompt through the directions: "{task.clean[0]}", {task.answers[0]}{other}'
    return Graph(title, facts(found), NOTES)
