"""microtome and hand-written masks: scores of all edges, and circuits of many sizes."""

import numpy as np
import torch
from harness.work import Work

from sides import data

#: Shares of all edges that are kept.
SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


def task(settings: dict):
    """Pairs of random prompts with random answers."""
    from microtome.stimuli.task import Task

    right, wrong = data.answers(settings)
    pairs = list(range(settings["batch"]))
    return Task("random", data.tokens(settings, 0), data.tokens(settings, 1), right, wrong, kind="tokens", groups=pairs)


def places(sizes: tuple[float, ...], count: int) -> list[int]:
    """How many edges a circuit of each size has."""
    return [max(1, round(s * count)) for s in sizes]


def eap_edges(settings: dict) -> Work:
    """`mt.trace.eap`, or `eap_ig` where steps are asked for."""
    import microtome as mt

    subject, shown = mt.Subject(data.load(settings)), task(settings)
    subject.fingerprint()
    steps = settings.get("steps")

    def call():
        return mt.trace.eap_ig(subject, shown, steps=steps) if steps else mt.trace.eap(subject, shown)

    return Work(call, lambda graph: {"scores": graph.scores / np.abs(graph.scores).max()})


def circuit_evaluation(settings: dict) -> Work:
    """The metric of circuits of ten sizes, by edges with the largest scores, all others cut."""
    import microtome as mt
    from microtome.trace.masked import masked_metric
    from microtome.trace.measured import bound_pairs
    from microtome.trace.reference import reference_values
    from microtome.trace.selection import pruned
    from microtome.trace.wires import wires

    subject, shown = mt.Subject(data.load(settings)), task(settings)
    graph, bound = mt.trace.eap(subject, shown), bound_pairs(subject, shown)
    layout = wires(subject)
    sizes = places(SIZES, int(graph.allowed.sum()))
    masks = np.stack([pruned(_strongest(graph, size), graph.into) for size in sizes])  # what dangles changes nothing

    def call():
        reference = reference_values(subject, bound, layout, "corrupt")
        return masked_metric(subject, bound.inputs, bound.metric, layout, reference, torch.from_numpy(masks).float())

    return Work(call, lambda values: {"metric": values.mean(dim=1).numpy()}, units=len(sizes))


def _strongest(graph, size: int) -> np.ndarray:
    from microtome.trace.selection import keep_strongest

    return keep_strongest(np.abs(graph.scores), graph.allowed, size, graph.into, greedy=False)
