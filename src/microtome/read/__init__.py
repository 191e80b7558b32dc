"""Decode what a site holds: lenses, probes, directions."""

from microtome.read.difference_in_means import difference_in_means
from microtome.read.logistic_probe import logistic_probe
from microtome.read.logit_lens import logit_lens
from microtome.read.probe_test import probe_test
from microtome.read.sparse_probe import sparse_probe

__all__ = ["difference_in_means", "logistic_probe", "logit_lens", "probe_test", "sparse_probe"]
