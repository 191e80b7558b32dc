"""What methods on causal alignments share: the planted network, whose key token is a variable with known coordinates."""

import inspect
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from microtome.errors import Degenerate, ShapeError, SubjectMismatch, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.stimuli.interchange_pairs import Interchanges
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import network_refusals
from microtome.testing.planted_network import D_MODEL, KEY, KEYS, LENGTH, VOCAB, PlantedNetwork, planted_network

PAIRS = 96


def takes_pairs(method: Method) -> bool:
    """Whether the method works on interchanges or on an alignment."""
    names = inspect.signature(method.function).parameters if method.function else {}
    return "pairs" in names or ("basis" in names and "inputs" in names)


def interchange_world(method: Method, seed: int, *, structured: bool = True) -> World:
    """Pairs on the key token, its true coordinates, and the block and position where it still stands."""
    from microtome.trace.alignment.basis import AlignedLinear

    planted = planted_network(seed, structured=structured)
    pairs = planted_pairs(planted, seed)
    site, eye = f"blocks.{planted.block}.resid_pre", torch.eye(D_MODEL)[:, KEY : KEY + KEYS].contiguous()
    about = {"position": planted.position, "subject": planted.subject.fingerprint()}
    basis = AlignedLinear(site, eye, {"key": list(range(KEYS))}, decoder=eye.T.contiguous(), **about)
    given = {"subject": planted.subject, "pairs": pairs, "basis": basis}
    if method.key == "subspace_illusion":  # one direction: from the first key to the second
        one = (eye[:, :1] - eye[:, 1:2]) / 2**0.5
        given |= {"pairs": planted_pairs(planted, seed, only=2), "readout": torch.eye(D_MODEL)}
        given["basis"] = AlignedLinear(site, one, {"key": [0]}, **about)
    if method.key == "alignment_selectivity":  # several fits for each call: short ones
        from microtome.trace.das import das

        given["fit"] = partial(das, size=KEYS, position=planted.position, steps=40, batch=32, lr=0.08)
    if "inputs" in inspect.signature(method.function).parameters:  # type: ignore[arg-type]
        inputs = pairs.base[:12]
        keys = inputs[:, planted.position]
        given |= {"inputs": inputs, "labels": keys.expand(12, 12).contiguous(), "known": pairs.sources["key"][:12]}
        given["values"] = given["known"][:, planted.position]
        if method.key == "counterfactual_simulation":
            given["labels"] = keys[:, None].expand(12, 12).contiguous()
    return World(given, {"planted": planted, "fresh": planted_pairs(planted, seed + 1000)},
                 {"site": site, "position": planted.position})  # fmt: skip


def planted_pairs(planted: PlantedNetwork, seed: int, only: int = KEYS) -> Interchanges:
    """The key of the source takes the place of the base's; half of the pairs have another key."""
    generator = torch_rng(seed, "planted pairs")
    base, source = torch.randint(KEYS, VOCAB, (2, PAIRS, LENGTH), generator=generator)
    keys = torch.randint(only, (2, PAIRS), generator=generator)
    keys[1, ::4] = (keys[0, ::4] + 1) % only
    base[:, planted.position], source[:, planted.position] = keys
    kinds = ["key" if a != b else "filler" for a, b in keys.T.tolist()]
    return Interchanges("copy a token", base, {"key": source}, keys[1], keys[0], kinds=kinds)


def interchange_truth(method: Method, result, world: World) -> float:
    """Accuracy on fresh pairs of a fitted alignment; the estimate (a share of 1) of a judgement."""
    from microtome.trace.alignment.data import prepare
    from microtome.trace.alignment.score import interchange_accuracy

    if hasattr(result, "blocks"):
        planted = world.truth["planted"]
        return interchange_accuracy(prepare(planted.subject, world.truth["fresh"], result.site, result.position), result)
    if hasattr(result, "trained"):
        return result.trained.value
    if hasattr(result, "scores"):
        return float(np.exp(result.scores).mean())
    if hasattr(result, "coverage"):
        return result.coverage
    return float(np.clip(result.estimate.value, 0.0, 1.0))


def interchange_refusals(method: Method) -> list[Refusal]:
    """Sources of another length, nothing that changes, more coordinates than there are, misspelt sites."""
    rows = network_refusals(method)
    parameters = inspect.signature(method.function).parameters if method.function else {}
    if "pairs" in parameters:
        pairs = interchange_world(method, 0).given["pairs"]
        longer = {"key": torch.cat([pairs.sources["key"], pairs.base[:, :1]], 1)}
        idle = replace(pairs, labels=pairs.before)
        wild = replace(pairs, labels=pairs.labels + VOCAB)
        rows += [Refusal("sources of another length", {"pairs": replace(pairs, sources=longer)}, ShapeError, "equal length"),
                 Refusal("answers that never change", {"pairs": idle}, Degenerate, "doing nothing"),
                 Refusal("labels that are no classes", {"pairs": wild}, UsageError, "classes"),
                 Refusal("no pairs at all", {"pairs": pairs[:0]}, Degenerate, ".")]  # fmt: skip
    if "size" in parameters:
        rows += [Refusal("more coordinates than the site has", {"size": D_MODEL + 1}, UsageError, "do not fit"),
                 Refusal("no coordinates", {"size": 0}, UsageError, "size")]  # fmt: skip
    if "position" in parameters:
        rows.append(Refusal("a position that is not there", {"position": 9}, UsageError, "position 9"))
    if "labels" in parameters:
        rows.append(Refusal("labels of another shape", {"labels": torch.zeros(3, 3, dtype=torch.long)}, ShapeError, "labels"))
    return rows


def interchange_strangers(method: Method) -> list[Refusal]:
    """An alignment of another network."""
    parameters = inspect.signature(method.function).parameters if method.function else {}
    if "basis" not in parameters or parameters["basis"].default is not inspect.Parameter.empty:
        return []
    other = interchange_world(method, 1).given["basis"]
    return [Refusal("an alignment of another subject", {"basis": other}, SubjectMismatch, "refit")]
