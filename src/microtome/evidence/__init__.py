"""Evidence: estimates with intervals, nulls, corrections over families, and the Finding that carries them.

It knows no network: everything here works on arrays of numbers, so any result, from any method, can be tested the same way.
"""

from microtome.evidence.estimate import Estimate
from microtome.evidence.finding import Finding
from microtome.evidence.null import Null, p_values
from microtome.evidence.provenance import Provenance, library_versions

__all__ = ["Estimate", "Finding", "Null", "Provenance", "library_versions", "p_values"]
