"""Which parts of a network cause a behaviour: patching, first-order effects, circuits and how faithful they are."""

from microtome.trace.activation_patching import PatchingPractice, activation_patching
from microtome.trace.attribution_patching import attribution_patching
from microtome.trace.circuit import Circuit
from microtome.trace.completeness import completeness
from microtome.trace.edges import Edge
from microtome.trace.effects import Effects, agreement
from microtome.trace.faithfulness import faithfulness
from microtome.trace.listing import nodes
from microtome.trace.mediation import mediation
from microtome.trace.minimality import minimality
from microtome.trace.nodes import Node
from microtome.trace.path_patching import path_patching

__all__ = ["Circuit", "Edge", "Effects", "Node", "PatchingPractice", "activation_patching", "agreement",
           "attribution_patching", "completeness", "faithfulness",
           "mediation", "minimality", "nodes", "path_patching"]  # fmt: skip
