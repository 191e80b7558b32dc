"""Methods that find circuits: what lies on the planted path must score above what does not."""

import inspect
from dataclasses import replace

from microtome.errors import Degenerate, MicrotomeError, ShapeError, SubjectMismatch, UsageError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.interchanges import (
    interchange_refusals,
    interchange_strangers,
    interchange_truth,
    interchange_world,
    takes_pairs,
)
from microtome.testing.families.networks import causal_rows, network_refusals, network_world
from microtome.testing.families.tables import ranked, table_of
from microtome.testing.worlds import own_world

#: AUROC of effects for rows on the planted path.
PLANTED = 0.9
#: What a judge of circuits gives for the planted circuit, where it is not 1: nothing is missing from it.
PERFECT = {"completeness": 0.0}


def tiny(method: Method, seed: int) -> World:
    """A network in which one head copies one token to the answer."""
    if takes_pairs(method):
        return interchange_world(method, seed)
    if own := own_world(method):
        return own.tiny(method, seed)
    return _with_circuit(method, network_world(seed))


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    if takes_pairs(method):
        return interchange_world(method, seed, structured=False)
    if own := own_world(method):
        return own.null(method, seed)
    return _with_circuit(method, network_world(seed, structured=False))


def _with_circuit(method: Method, world: World) -> World:
    """For methods that judge a circuit: the one head that was planted, among all heads."""
    if takes_graph(method):
        from microtome.trace.eap import eap

        planted = world.truth["planted"]
        return World({**world.given, "graph": eap(planted.subject, planted.task)}, world.truth, world.settings)
    if not takes_circuit(method):
        return world
    from microtome.trace.circuit import Circuit
    from microtome.trace.listing import nodes

    planted = world.truth["planted"]
    heads = tuple(nodes(planted.subject, "head"))
    chosen = tuple(n for n in heads if (n.layer, n.head) == (planted.block, planted.head))
    circuit = Circuit(chosen, heads, task=planted.task.name, subject=planted.subject.fingerprint())
    return World({**world.given, "circuit": circuit}, world.truth, world.settings)


def takes_circuit(method: Method) -> bool:
    """Whether a circuit is among the arguments."""
    return method.function is not None and "circuit" in inspect.signature(method.function).parameters


def takes_graph(method: Method) -> bool:
    """Whether scores of edges are among the arguments."""
    return method.function is not None and "graph" in inspect.signature(method.function).parameters


def planted_edges(planted) -> list[str]:
    """Into the value of the planted head, and from it to the logits."""
    value = f"blocks.{planted.block}.attn.v.h{planted.head}"
    return [f"embed->{value}", f"a{planted.block}.h{planted.head}->logits"]


def truth(method: Method, result, world: World) -> float:
    """AUROC of the absolute effects for the rows on the planted path; of a judge of circuits, how near it is to perfect."""
    if takes_pairs(method):
        return interchange_truth(method, result, world)
    if own := own_world(method):
        return own.truth(method, result, world)
    if hasattr(result, "receivers"):
        return result.auroc(planted_edges(world.truth["planted"]))
    if takes_graph(method):
        return max(0.0, 1.0 - result.estimate.value)
    if takes_circuit(method):
        return max(0.0, 1.0 - abs(PERFECT.get(method.key, 1.0) - result.estimate.value))
    table = table_of(result)
    return ranked(table, causal_rows(table, world.truth["planted"]))


def refusals(method: Method) -> list[Refusal]:
    """Wrong sites, nodes, options and seeds; pairs that do not correspond; a corruption that changes nothing."""
    if takes_pairs(method):
        return interchange_refusals(method)
    if own := own_world(method):
        return own.refusals(method)
    rows = network_refusals(method)
    task = tiny(method, 0).given["task"]
    shorter = replace(task, corrupt=task.corrupt[:, :-1])
    rows.append(Refusal("pairs of unequal length", {"task": shorter}, ShapeError, "equal length"))
    parameters = inspect.signature(method.function).parameters if method.function else {}
    if "metric" in parameters:
        rows.append(Refusal("an unknown metric", {"metric": "logit_diference"}, UsageError, "logit_difference"))
    for name in ("nodes", "senders"):
        if name in parameters:
            rows += [Refusal(f"a misspelt kind of {name}", {name: "heads"}, UsageError, "head"),
                     Refusal(f"a head that is not there in {name}", {name: ["a0.h9"]}, MicrotomeError, "9"),
                     Refusal(f"no {name}", {name: []}, UsageError, "no nodes")]  # fmt: skip
    if takes_circuit(method):
        circuit = tiny(method, 0).given["circuit"]
        rows.append(Refusal("a circuit without components", {"circuit": type(circuit)((), ())}, UsageError, "universe"))
    else:
        idle = replace(task, corrupt=task.clean.clone())
        rows.append(Refusal("a corruption that changes nothing", {"task": idle}, Degenerate, "corruption"))
    return rows


def strangers(method: Method) -> list[Refusal]:
    """A circuit of another network."""
    if takes_pairs(method):
        return interchange_strangers(method)
    if own := own_world(method):
        return own.strangers(method) if hasattr(own, "strangers") else []
    if takes_graph(method):
        return [Refusal("scores of another subject", {"graph": tiny(method, 1).given["graph"]}, SubjectMismatch)]
    if not takes_circuit(method):
        return []
    return [Refusal("a circuit of another subject", {"circuit": tiny(method, 1).given["circuit"]}, SubjectMismatch)]
