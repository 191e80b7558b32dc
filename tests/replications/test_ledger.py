"""The committed ledger speaks of the code that is here: rows, thresholds, hashes; stale rows are run again."""

import os
import time

import pytest

from microtome.io import hash_bytes
from microtome.ledger import Ledger, ledger_page
from microtome.replicate import keys, load, replicate

LEDGER = Ledger.read()
KEYS = list(keys())
#: Seconds that this suite may spend on replications: stale ones first, then a sample.
BUDGET = float(os.environ.get("MICROTOME_REPLICATION_BUDGET", "60"))


def test_every_replication_has_a_row_and_every_row_a_replication():
    assert sorted(LEDGER.rows) == sorted(KEYS), "run: microtome replicate --all"


def test_every_replication_is_in_the_catalogue():
    known = {entry["key"]: (entry["room"], entry["id"]) for entry in LEDGER.catalog}
    assert len(known) == 284
    assert {key: load(key).catalog for key in KEYS} == {key: known.get(key) for key in KEYS}


@pytest.mark.parametrize("key", sorted(LEDGER.rows))
def test_rows_are_complete_and_consistent(key):
    row = LEDGER.rows[key].content
    assert len(set(row["seeds"])) >= 3
    assert len(row["seconds"]) == len(row["seeds"])
    assert set(row["versions"]) >= {"microtome", "torch", "python"}
    assert tuple(row["seeds"]) == load(key).seeds
    for claim, declared in zip(row["claims"], load(key).claims, strict=True):
        assert (claim["statement"], claim["threshold"], claim["direction"]) == (
            declared.statement, declared.threshold, declared.direction,
        )  # fmt: skip
        assert len(claim["values"]) == len(row["seeds"])
        assert claim["null"].get("reason") or len(claim["null"]["values"]) == len(row["seeds"])
        beyond = "values" not in claim["null"] or declared.beyond_null(claim["null"]["values"])
        assert claim["beyond_null"] == beyond
        assert claim["holds"] == (declared.holds(claim["values"]) and beyond)
    assert row["holds"] == all(claim["holds"] for claim in row["claims"])


def test_a_claim_whose_null_passes_too_does_not_hold():
    """It stays in the ledger as what it is, and the page says why."""
    claims = [(k, c) for k, r in LEDGER.rows.items() for c in r.content["claims"]]
    assert not [(k, c["measure"]) for k, c in claims if c["holds"] and not c["beyond_null"]]
    assert ledger_page(LEDGER).count("no: the null passes too") == sum(not c["beyond_null"] for _, c in claims)


def to_run() -> list[str]:
    """Stale rows, then one that rotates with the content of the ledger; as many as the budget allows."""
    stale = [key for key in LEDGER.all_stale() if key in LEDGER.rows]
    fresh = [key for key in KEYS if key in LEDGER.rows and key not in stale]
    turn = int(hash_bytes(repr(sorted(r.content["total_seconds"] for r in LEDGER.rows.values())).encode()), 16)
    return stale + fresh[turn % len(fresh) :][:1] if fresh else stale


@pytest.fixture(scope="module")
def spent() -> dict[str, float]:
    """Seconds that the replications of this run have taken."""
    return {"seconds": 0.0}


@pytest.mark.parametrize("key", to_run())
def test_stale_and_sampled_replications_show_what_the_ledger_says(key, spent):
    expected = LEDGER.rows[key]
    left = BUDGET - spent["seconds"]
    seeds = load(key).seeds
    stale = LEDGER.stale(key)
    per_seed = expected.content["total_seconds"] / len(seeds)
    affordable = seeds if stale else seeds[:1]
    if per_seed * len(affordable) > left:
        pytest.skip(f"{'stale (' + ', '.join(stale) + ') but ' if stale else ''}over the budget of {BUDGET:.0f} s")
    started = time.perf_counter()
    row = replicate(key, affordable)
    spent["seconds"] += time.perf_counter() - started
    held = {c["statement"]: c["holds"] for c in expected.content["claims"] if c["holds"]}
    lost = [c["statement"] for c in row.content["claims"] if c["statement"] in held and not c["holds"]]
    assert not lost, f"{key} no longer shows: {lost}\n{row}\nIf that is the finding: microtome replicate {key}"
