"""Which parts of a network cause a behaviour: patching, first-order effects, circuits and how faithful they are."""

from microtome.trace.activation_patching import PatchingPractice, activation_patching
from microtome.trace.alignment.basis import Aligned, AlignedLinear, AlignedRevNet
from microtome.trace.alignment_selectivity import Selectivity, alignment_selectivity
from microtome.trace.attention_roles import attention_roles
from microtome.trace.attention_signature import attention_signature
from microtome.trace.attention_transplant import attention_transplant
from microtome.trace.attribution_graph import AttributionGraph
from microtome.trace.attribution_patching import attribution_patching
from microtome.trace.boundless_das import boundless_das
from microtome.trace.bucketing import Buckets, bucketing
from microtome.trace.build_graph import attribution_graph
from microtome.trace.circuit import Circuit
from microtome.trace.circuit_overlap import circuit_overlap
from microtome.trace.completeness import completeness
from microtome.trace.coordinate_masks import coordinate_masks
from microtome.trace.das import das
from microtome.trace.direct_effects import direct_effects
from microtome.trace.dissociation import dissociation
from microtome.trace.edges import Edge
from microtome.trace.effects import Effects, agreement
from microtome.trace.faithfulness import faithfulness
from microtome.trace.feature_switch import feature_switch
from microtome.trace.head_mediation import head_mediation
from microtome.trace.hierarchical_attribution import hierarchical_attribution
from microtome.trace.interchange import interchange
from microtome.trace.listing import nodes
from microtome.trace.localist_search import localist_search
from microtome.trace.low_rank_heads import low_rank_heads
from microtome.trace.mediation import mediation
from microtome.trace.minimality import minimality
from microtome.trace.nodes import Node
from microtome.trace.output_nodes import output_nodes
from microtome.trace.path_intervention import path_intervention
from microtome.trace.path_patching import path_patching
from microtome.trace.population_test import population_test
from microtome.trace.reversible_alignment import reversible_alignment
from microtome.trace.subspace_illusion import subspace_illusion
from microtome.trace.successor_heads import successor_heads
from microtome.trace.transcoder_circuits import transcoder_circuits

__all__ = [
    "Aligned",
    "AlignedLinear",
    "AlignedRevNet",
    "AttributionGraph",
    "Buckets",
    "Circuit",
    "Edge",
    "Effects",
    "Node",
    "PatchingPractice",
    "Selectivity",
    "activation_patching",
    "agreement",
    "alignment_selectivity",
    "attention_roles",
    "attention_signature",
    "attention_transplant",
    "attribution_graph",
    "attribution_patching",
    "boundless_das",
    "bucketing",
    "circuit_overlap",
    "completeness",
    "coordinate_masks",
    "das",
    "direct_effects",
    "dissociation",
    "faithfulness",
    "feature_switch",
    "head_mediation",
    "hierarchical_attribution",
    "interchange",
    "localist_search",
    "low_rank_heads",
    "mediation",
    "minimality",
    "nodes",
    "output_nodes",
    "path_intervention",
    "path_patching",
    "population_test",
    "reversible_alignment",
    "subspace_illusion",
    "successor_heads",
    "transcoder_circuits",
]
