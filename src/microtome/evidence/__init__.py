"""Evidence: estimates with intervals, nulls, corrections over families, and the Finding that carries them.

It knows no network: everything here works on arrays of numbers, so any result, from any method, is tested the same way.
"""

from microtome.evidence.bootstrap import bootstrap, cluster_bootstrap, paired_bootstrap
from microtome.evidence.correlation import circular_shift_family, circular_shift_test, correlation_family, correlation_test
from microtome.evidence.estimate import Estimate
from microtome.evidence.family import NullFamily
from microtome.evidence.finding import Finding
from microtome.evidence.hypothesis import Hypothesis
from microtome.evidence.matched import best_of_k, matched_random
from microtome.evidence.multiple import benjamini_hochberg, benjamini_yekutieli, fdr_table, holm, max_statistic
from microtome.evidence.null import Null, p_values
from microtome.evidence.permutation import permutation_family, permutation_test, sign_flip_family, sign_flip_test
from microtome.evidence.provenance import Provenance, library_versions
from microtome.evidence.ranking import auroc, average_precision, best_f1, spearman
from microtome.evidence.salmon import WeakNull, salmon_finding, salmon_test

__all__ = [
    "Estimate", "Finding", "Hypothesis", "Null", "NullFamily", "Provenance", "WeakNull", "auroc", "average_precision",
    "benjamini_hochberg", "benjamini_yekutieli", "best_f1", "best_of_k", "bootstrap", "circular_shift_family",
    "circular_shift_test", "cluster_bootstrap", "correlation_family", "correlation_test", "fdr_table", "holm",
    "library_versions", "matched_random", "max_statistic", "p_values", "paired_bootstrap", "permutation_family",
    "permutation_test", "salmon_finding", "salmon_test", "sign_flip_family", "sign_flip_test", "spearman",
]
