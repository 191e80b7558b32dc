"""Scored graphs as files: round trips, MIB's form, GraphML, and files that lie."""

import json

import networkx as nx
import numpy as np
import pytest

import microtome as mt
from microtome.errors import FormatError, SubjectMismatch
from microtome.trace import ScoredGraph, eap, read_mib, write_graphml, write_mib


@pytest.fixture(scope="module")
def graph(grouped):
    return eap(*grouped)


def test_own_files_come_back_the_same(graph, tmp_path):
    graph.save(tmp_path / "g.json")
    again = ScoredGraph.load(tmp_path / "g.json")
    assert (again.scores == graph.scores).all()
    assert (again.error == graph.error).all()
    assert (again.senders, again.receivers, again.total, again.subject) == (
        graph.senders, graph.receivers, graph.total, graph.subject)  # fmt: skip


def test_mib_files_have_their_names_and_come_back(graph, grouped, tmp_path):
    write_mib(graph, tmp_path / "c.json", size=30)
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["cfg"] == {"n_layers": 3, "n_heads": 4, "parallel_attn_mlp": False}
    assert {"input", "a2.h3", "m1", "logits"} <= set(found["nodes"])
    assert {"a0.h1->a2.h3<q>", "input->m0", "m2->logits", "a0.h0->a1.h1<k>"} <= set(found["edges"])
    # Heads 0 and 1 share a key: both entries carry the score of the one edge.
    assert found["edges"]["m0->a1.h0<k>"] == found["edges"]["m0->a1.h1<k>"]
    inside = sum(e["in_graph"] for name, e in found["edges"].items() if not name.endswith(("<k>", "<v>")))
    assert 0 < inside <= 30
    again = read_mib(tmp_path / "c.json", grouped[0])
    assert (again.scores == graph.scores).all()
    assert (again.allowed == graph.allowed).all()


def test_files_of_others_are_read_by_membership_where_scores_are_missing(ioi, tmp_path):
    edges = {"a1.h0->logits": {"in_graph": True}, "input->a0.h1<v>": {"in_graph": False, "score": None},
             "a0.h1->a1.h0<q>": {"in_graph": True, "score": -2.5}}  # fmt: skip
    (tmp_path / "c.json").write_text(json.dumps({"cfg": {"n_layers": 3, "n_heads": 4}, "nodes": {}, "edges": edges}))
    found = read_mib(tmp_path / "c.json", ioi)
    assert found.score("a1.h0->logits") == 1.0
    assert found.score("a0.h1->blocks.1.attn.q.h0") == -2.5
    assert np.count_nonzero(found.scores) == 2


def test_graphml_holds_heads_as_nodes(graph, tmp_path):
    write_graphml(graph, tmp_path / "g.graphml", size=20)
    found = nx.read_graphml(tmp_path / "g.graphml", force_multigraph=True)
    assert "logits" in found
    kinds = {d["reads"] for *_, d in found.edges(data=True)}
    assert kinds <= {"q", "k", "v", "input"}


@pytest.mark.parametrize(("change", "error", "says"), [
    (lambda d: d.pop("edges"), FormatError, "not a MIB circuit"),
    (lambda d: d["cfg"].update(n_layers=12), SubjectMismatch, "n_layers = 12"),
    (lambda d: d["edges"].update({"a0.h1->a9.h0<q>": {"score": 1}}), SubjectMismatch, "a9.h0"),
    (lambda d: d["edges"].update({"a2.h0->a0.h0<q>": {"score": 1}}), SubjectMismatch, "a2.h0->a0.h0<q>"),
    (lambda d: d["edges"].update({"head 3": {"score": 1}}), FormatError, "no edge"),
    (lambda d: d["edges"].update({"input->m0": 3}), FormatError, "must be an object"),
    (lambda d: d["edges"].update({"input->m0": {"score": "high"}}), FormatError, "number"),
    (lambda d: d["edges"].update({"input->m0": {"score": 1, "in_graph": "yes"}}), FormatError, "true or false"),
])  # fmt: skip
def test_hostile_and_foreign_files_are_refused(change, error, says, graph, grouped, tmp_path):
    write_mib(graph, tmp_path / "c.json")
    found = json.loads((tmp_path / "c.json").read_text())
    change(found)
    (tmp_path / "c.json").write_text(json.dumps(found))
    with pytest.raises(error, match=says):
        read_mib(tmp_path / "c.json", grouped[0])


def test_truncated_files_and_damaged_lists(graph, grouped, tmp_path):
    graph.save(tmp_path / "g.json")
    text = (tmp_path / "g.json").read_text()
    (tmp_path / "half.json").write_text(text[: len(text) // 2])
    with pytest.raises(FormatError):
        ScoredGraph.load(tmp_path / "half.json")
    with pytest.raises(FormatError):
        read_mib(tmp_path / "half.json", grouped[0])
    found = json.loads(text)
    for key, value in (("edges", [[99, 0]]), ("scores", ["x"]), ("senders", ["a0.h"]), ("total", None), ("notes", [1])):
        (tmp_path / "bad.json").write_text(json.dumps({**found, key: value}))
        with pytest.raises(FormatError, match="damaged"):
            ScoredGraph.load(tmp_path / "bad.json")
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(FormatError, match="not a microtome graph"):
        ScoredGraph.load(tmp_path / "none.json")


def test_a_file_of_another_model_is_not_judged_on_this_one(graph, ioi, task, tmp_path):
    graph.save(tmp_path / "g.json")
    with pytest.raises(SubjectMismatch):
        mt.trace.evaluate_circuits(ioi, task, ScoredGraph.load(tmp_path / "g.json"))
