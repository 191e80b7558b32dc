"""What to call for a paper of the ledger whose key is not the name of a method.

A row of the ledger is a paper; a method is a function. Most rows are called like the method they replicate. The others are
here: one paper may need several functions ("ioi_circuit"), and some are answered by one that carries no record of its own.
"""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from microtome.aliases import plain
from microtome.method import Method

_ATTRIBUTE = {
    "audio_lrp": "lrp", "class_embedding_space": "class_identifiability class_relevance", "diffroar": "diffroar roar",
    "impossibility": "counterexample local_trend reliance recourse", "interp_explain_lasso": "class_units class_unit_maps",
    "llm_era_checklist": "verify_statements", "lrp_pruning": "unit_relevance pruning_order removal_order",
    "neuron_ig_ir": "conductance", "transparency_card": "simulatability", "xai_guide": "evaluate",
}  # fmt: skip
_DECOMPOSE = {"attention_output_sae": "direct_feature_attribution head_shares", "coupled_nmf_lens": "coupled_nmf"}
_TRACE = {
    "activation_patching_practice": "activation_patching", "binding_id": "binding_vectors span_patching",
    "causal_correctness_prediction": "counterfactual_simulation value_probing",
    "circuit_reuse": "circuit_overlap attention_transplant", "iia_bucketing": "bucketing",
    "ioi_circuit": "path_patching faithfulness completeness minimality", "maze_world_models": "feature_switch",
    "mcq_circuit_scaling": "output_nodes direct_effects attention_roles low_rank_heads", "mediator_survey": "mediation",
    "nonlinear_alignment_maps": "alignment_selectivity reversible_alignment", "path_intervention_graph": "path_intervention",
    "population_ood_prediction": "population_test attention_signature", "ravel_mdas": "mdas disentanglement",
    "recall_reasoning_dissociation": "dissociation", "subspace_patching_illusion": "subspace_illusion",
    "symbolic_heads": "head_mediation",
}  # fmt: skip
_READ = {"sparse_probing": "sparse_probe"}
_TOP = {"dead_salmon_tests": "salmon", "falsifiable_claims": "Hypothesis"}

#: Key of a row of the ledger -> calls, what answers it first.
CALLS: Mapping[str, tuple[str, ...]] = {
    key: tuple(f"mt.{room}{name}" for name in names.split())
    for room, rows in (("attribute.", _ATTRIBUTE), ("decompose.", _DECOMPOSE), ("read.", _READ), ("trace.", _TRACE), ("", _TOP))
    for key, names in rows.items()
}
_BY_NAME = {plain(key): calls for key, calls in CALLS.items()}


@dataclass(frozen=True)
class Tool:
    """A public function or class without a record of its own."""

    call: str
    function: Any

    @property
    def summary(self) -> str:
        """First line of its documentation."""
        return (inspect.getdoc(self.function) or "").partition("\n")[0]


def answers(key: str) -> list[Method | Tool]:
    """What answers the row `key` of the ledger, each a `Method` or a `Tool`; nothing where the key is not here.

    Examples
    --------
    >>> [found.call for found in answers("binding_id")]
    ['mt.trace.binding_vectors', 'mt.trace.span_patching']
    """
    return [_resolved(call) for call in _BY_NAME.get(plain(key), ())]


def _resolved(call: str) -> Method | Tool:
    room, _, name = call.removeprefix("mt.").rpartition(".")
    function = getattr(importlib.import_module(f"microtome.{room}" if room else "microtome"), name)
    record = getattr(function, "method", None)
    return record if isinstance(record, Method) else Tool(call, function)
