"""The contract checks, one function each. A check returns when it passes and raises `Failed` or `Skip` otherwise."""

from collections.abc import Callable

from microtome.testing.case import Case
from microtome.testing.checks.bad_input import bad_input
from microtome.testing.checks.docstring import docstring, doctest
from microtome.testing.checks.listed import listed, oracle
from microtome.testing.checks.numerics import batch, disk, dtypes, gpu
from microtome.testing.checks.purity import interrupted, purity
from microtome.testing.checks.record import record
from microtome.testing.checks.refusing import extra, refusals, wrong_subject
from microtome.testing.checks.results import cost, save_load
from microtome.testing.checks.seeding import seed
from microtome.testing.checks.signature import signature
from microtome.testing.checks.truth import null, truth

_ORDER = (
    record, signature, docstring, doctest, listed, oracle, seed, purity, interrupted, bad_input, dtypes, batch, disk,
    truth, null, save_load, wrong_subject, refusals, extra, cost, gpu,
)  # fmt: skip

#: Name -> check, in the order in which they run: from the record to the statistics.
CHECKS: dict[str, Callable[[Case], None]] = {check.__name__: check for check in _ORDER}
