"""Which components carry the task."""

import warnings

import numpy as np

from microtome.errors import Degenerate
from microtome.evidence import Finding
from microtome.study.blocks import Bars, Heatmap, Section, Table, Text
from microtome.study.context import Context
from microtome.study.headline import components
from microtome.trace import Circuit, PatchingPractice, activation_patching, agreement, attribution_patching, faithfulness
from microtome.trace.rank_agreement import agreement_note, rank_agreement

SIZES, RANDOM, CHANNELS = (4, 8, 12, 16, 24), 19, 40


def circuit(context: Context) -> Section:
    """Patching by layer and position and by component, first-order effects, and a circuit judged on held-out prompts."""
    subject, task = context.subject, context.material.task
    found, held = task.split(context.seed, 0.5)
    nodes = components(context.material)
    blocks: list = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PatchingPractice)  # the notes are shown in the report
        try:
            fast = attribution_patching(subject, found, nodes=nodes, seed=context.seed)
        except Degenerate as error:
            return Section("circuit", "What carries it", "Nothing to trace: the task is not there.", [], [Text(str(error))])
        wanted = nodes if isinstance(nodes, str) else fast.top(CHANNELS)
        exact = activation_patching(subject, found, nodes=wanted, seed=context.seed)
        if subject.trunks and exact.nodes[0].site.endswith(".z"):
            grid = activation_patching(subject, found, nodes="layer_position", seed=context.seed)
            table = grid.grid()
            blocks.append(Heatmap("Residual stream, layer by position: share of the behaviour restored by the clean value",
                                  [str(i) for i in table.index], _columns(context, table.columns), table.values.tolist(),
                                  row_name="block", column_name="position"))  # fmt: skip
            heads = exact.table[exact.table["head"].notna()].pivot_table(index="layer", columns="head", values="effect")
            blocks.append(Heatmap("Heads: share of the behaviour restored", [str(i) for i in heads.index],
                                  [str(c) for c in heads.columns], heads.values.tolist(), row_name="block",
                                  column_name="head"))  # fmt: skip
    top = exact.table.reindex(exact.table["effect"].abs().sort_values(ascending=False).index).head(12)
    blocks.append(Bars("Components with the largest exact effects", top["node"].tolist(), top["effect"].tolist(),
                       top["low"].tolist(), top["high"].tolist(), 0.0, "share of the clean-corrupt difference"))  # fmt: skip
    blocks.append(Text(_beside(subject, found, fast, exact, context.seed)))
    main = exact.finding()
    findings = [Finding(main.claim, main.estimate, (*main.nulls, *context.twin_null("patching")), main.controls, main.table,
                        main.provenance, main.alpha, main.notes)]  # fmt: skip
    chosen, card = _smallest(context, exact, held)
    if card is not None:
        # In a network that does not do the task, chosen components beat random ones too: the twins' null counts as well.
        card = Finding(card.claim, card.estimate, (*card.nulls, *context.twin_null("patching")), card.controls, card.table,
                       card.provenance, card.alpha, card.notes)  # fmt: skip
        chance = float(np.mean(card.nulls[0].statistics))
        chosen.save(context.folder / "circuit.json")
        findings.append(card)
        blocks.append(_card(card))
        lead = (f"{len(chosen)} of {len(chosen.universe)} components ({', '.join(map(str, chosen.nodes[:6]))}"
                f"{', ...' if len(chosen) > 6 else ''}) keep {100 * float(card.estimate.value):.0f}% of the behaviour on "  # type: ignore[union-attr]
                f"unseen prompts; random circuits of that size {100 * chance:.0f}%.")  # fmt: skip
    else:
        lead = main.claim + "."
    return Section("circuit", "What carries it", lead, findings, blocks)


def _beside(subject, task, fast, exact, seed: int) -> str:
    """First-order effects beside exact ones, in a sentence or two."""
    try:
        beside = rank_agreement(fast, subject, task, exact=exact, seed=seed)
    except Degenerate as error:
        return f"First-order effects (one backward pass) were not compared with exact ones: {error}"
    common = agreement(exact, fast)["top_overlap"]
    return (f"First-order effects (one backward pass) beside exact ones: rank correlation {beside.value:.2f} "
            f"[{beside.low:.2f}, {beside.high:.2f}] on {beside.n} components drawn at random, {100 * common:.0f}% of the "
            f"largest in common. {agreement_note(beside, 'First-order scores')}").rstrip()  # fmt: skip


def _smallest(context: Context, effects, held):
    """The smallest of a few circuit sizes that keeps four fifths of the behaviour on held-out prompts, with its card."""
    last = (None, None)
    for size in SIZES:
        if size > len(effects.nodes):
            break
        chosen = Circuit.of_effects(effects, size)
        card = faithfulness(context.subject, held, chosen, random=RANDOM, seed=context.seed)
        last = (chosen, card)
        if float(card.estimate.value) >= 0.8:  # type: ignore[union-attr]
            break
    return last


def _card(card: Finding) -> Table:
    table = card.table
    return Table("Faithfulness card", list(table.columns), table.values.tolist(),  # type: ignore[union-attr]
                 "How much of the behaviour is left, by what knocked-out components are set to and how prompts are averaged. "
                 "A circuit that is faithful in one row only is not established.")  # fmt: skip


def _columns(context: Context, positions) -> list[str]:
    from microtome.attribute.place import token_texts

    bound = context.subject.bind(context.material.task[:1])
    texts = token_texts(context.subject, bound.inputs)
    words = texts[0] if texts else []
    return [f"{p} {words[p]}" if p < len(words) else str(p) for p in positions]
