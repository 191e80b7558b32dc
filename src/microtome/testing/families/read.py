"""Methods that decode: a planted property must be read off a recording, a planted answer off a network."""

import torch

from microtome.errors import ShapeError
from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.labelled import label_refusals, labelled_world
from microtome.testing.families.networks import network_refusals, network_world
from microtome.testing.families.tables import table_of
from microtome.testing.planted import WIDTH, Planted, auroc
from microtome.testing.planted_network import PlantedNetwork
from microtome.testing.report import Failed

#: AUROC of the reading for the property; 1 / (1 + rank) of the answer.
PLANTED = 0.9


def tiny(method: Method, seed: int) -> World:
    """A planted property, or, for methods on a subject, a network that copies a token."""
    return network_world(seed) if "subject" in method.needs else labelled_world(seed)


def null(method: Method, seed: int) -> World:
    """Data that do not show the property; a network of fresh weights."""
    return (network_world if "subject" in method.needs else labelled_world)(seed, structured=False)


def truth(method: Method, result, world: World) -> float:
    """How well the reading tells the planted property, or the planted answer."""
    planted = world.truth["planted"]
    if not isinstance(planted, Planted):
        return _answers(result, planted)
    with torch.no_grad():
        codes = result.encode(planted.recording.matrix()).double().cpu().numpy()
    scores = [auroc(column, planted.labels) for column in codes.reshape(len(codes), -1).T]
    return float(max(max(s, 1 - s) for s in scores))


def _answers(result, planted: PlantedNetwork) -> float:
    """How near the top the answer stands after the last block: 1 / (1 + rank), from the table's "median_rank"."""
    table = table_of(result)
    if "median_rank" not in table.columns:
        raise Failed(f"no column 'median_rank' among {list(table.columns)}")
    return 1.0 / (1.0 + float(table["median_rank"].iloc[-1]))


def refusals(method: Method) -> list[Refusal]:
    """Wrong labels; wrong sites and seeds."""
    return network_refusals(method) if "subject" in method.needs else label_refusals(method)


def strangers(method: Method) -> list[Refusal]:
    """A fitted direction takes no tensor of another width."""
    if "recording" not in method.needs or "Basis" not in method.gives:
        return []
    wider = torch.zeros(2, WIDTH + 1)
    return [Refusal("a tensor of another width", {}, ShapeError, str(WIDTH), lambda basis: basis.encode(wider))]
