"""Every method keeps the contract, and no check that once ran is lost unnoticed."""

import json
from functools import cache
from pathlib import Path

import pytest

from microtome import methods
from microtome.testing import CheckReport, check_method
from microtome.testing.checks import CHECKS
from microtome.testing.counts import fallen

KEYS = list(methods.all_methods())
COUNTS = Path(__file__).with_name("counts.json")


@cache
def report(key: str) -> CheckReport:
    """All checks on one method, run once."""
    return check_method(key)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("key", KEYS)
def test_contract(key: str, check: str) -> None:
    outcome = next(o for o in report(key) if o.check == check)
    if outcome.status == "skipped":
        pytest.skip(outcome.reason)
    assert outcome.status == "passed", f"{key}: {check}: {outcome.reason}"


def test_no_check_is_lost() -> None:
    lost = fallen(json.loads(COUNTS.read_text(encoding="utf-8")), [report(key) for key in KEYS])
    assert not lost, "; ".join(lost) + ". If that is meant: python -m microtome.testing --update-counts"


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_truth_and_null_on_twenty_seeds(key: str) -> None:
    found = check_method(key, only=("truth", "null"), seeds=20)
    assert found.ok, str(found)
