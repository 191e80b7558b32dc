"""Every paper of the ledger is found by its key: `microtome methods KEY` and `microtome methods show KEY`."""

import json

import pytest
from cli_run import ROOT, cli, document

import microtome.methods
from microtome.method import Method
from microtome.methods import all_methods
from microtome.papers import CALLS, answers

ROWS = json.loads((ROOT / "replications" / "ledger.json").read_text(encoding="utf-8"))["rows"]
KNOWN = all_methods()


@pytest.fixture
def listed_once(monkeypatch):
    """The list of methods does not change while the rows are walked."""
    monkeypatch.setattr(microtome.methods, "all_methods", lambda: KNOWN)


@pytest.mark.usefixtures("listed_once")
def test_every_row_of_the_ledger_is_found_and_shown():
    assert len([row for row in ROWS.values() if row["catalog"][0] in ("trace", "decompose", "attribute")]) >= 80
    missing = []
    for key in ROWS:
        listed, shown = document("methods", key), cli("methods", "show", key, "--json")
        first = [entry["call"] for entry in (*listed["methods"], *listed["functions"])]
        said = json.loads(shown.stdout) if shown.exit_code == 0 else {}
        call = (said.get("method") or said.get("function") or {}).get("call")
        if not first or call not in first:
            missing.append((key, first[:1], call))
    assert missing == []


def test_what_is_named_for_a_paper_is_what_its_row_speaks_of():
    wrong = []
    for key, calls in CALLS.items():
        functions = [found.function for found in answers(key)]
        assert len(functions) == len(calls)
        hashed = ROWS[key]["hashes"]["methods"]
        if functions[0].__module__ not in hashed:
            wrong.append((key, calls[0], functions[0].__module__))
    assert wrong == []
    assert not set(CALLS) & set(KNOWN), "a method of that name answers it already"


def test_names_that_lead_to_several_and_to_functions_without_a_record():
    assert [found.key for found in answers("Binding-ID") if isinstance(found, Method)] == ["binding_vectors", "span_patching"]
    listed = document("methods", "binding_id")["methods"]
    assert [m["key"] for m in listed][:2] == ["binding_vectors", "span_patching"]
    text = cli("methods", "show", "binding_id").stdout
    assert "mt.trace.binding_vectors(" in text
    assert "also asks for mt.trace.span_patching" in text
    function = document("methods", "show", "transparency_card")["function"]
    assert function["call"] == "mt.attribute.simulatability"
    assert "simulatability" in cli("methods", "transparency_card").stdout
    assert document("methods", "show", "attention_output_sae")["method"]["key"] == "direct_feature_attribution"
    assert "No method matches" in cli("methods", "zeppelin").stdout


def test_a_key_that_is_nowhere_names_its_neighbour():
    refused = cli("methods", "show", "bindign_id")
    assert refused.exit_code == 2
    assert "no method" in refused.stderr
