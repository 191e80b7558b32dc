"""Methods that find circuits: what lies on the planted path must score above what does not."""

from microtome.method import Method
from microtome.testing.case import Refusal, World
from microtome.testing.families.networks import causal_rows, network_refusals, network_world
from microtome.testing.families.tables import ranked, table_of

#: AUROC of effects for rows on the planted path.
PLANTED = 0.9


def tiny(method: Method, seed: int) -> World:
    """A network in which one head copies one token to the answer."""
    return network_world(seed)


def null(method: Method, seed: int) -> World:
    """Freshly drawn weights."""
    return network_world(seed, structured=False)


def truth(method: Method, result, world: World) -> float:
    """AUROC of the absolute effects for the rows on the planted path."""
    table = table_of(result)
    return ranked(table, causal_rows(table, world.truth["planted"]))


def refusals(method: Method) -> list[Refusal]:
    """Wrong sites and seeds."""
    return network_refusals(method)
