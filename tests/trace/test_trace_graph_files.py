"""Attribution graphs in files and pages: round trips, hostile files, hostile text."""

import json

import networkx
import pytest
import torch
from tests.trace.graph_world import coders, network, prompt

from microtome.errors import FormatError, IntegrityError, UsageError
from microtome.trace import AttributionGraph, attribution_graph, read_neuronpedia, write_neuronpedia
from microtome.trace.view import block

HOSTILE = ("</script><script>alert(1)</script>", "\u202eevil", "<img src=x onerror=alert(1)>", " the", '"', "'", "&amp;")


@pytest.fixture(scope="module")
def graph():
    from dataclasses import replace

    found = attribution_graph(network("llama"), prompt(), coders("llama"), nodes=40)
    return replace(found, tokens=HOSTILE, words={i: HOSTILE[i % 7] for i in found.of_kind("logit").tolist()})


def test_saved_and_loaded_is_the_same(graph, tmp_path):
    graph.save(tmp_path / "g")
    again = AttributionGraph.load(tmp_path / "g")
    for name in ("kind", "place", "layer", "position", "index", "key", "value", "start", "source", "target", "weight", "rest",
                 "mass", "effect", "expanded"):  # fmt: skip
        assert torch.equal(getattr(graph, name), getattr(again, name)), name
    assert (again.tokens, again.places, dict(again.words)) == (graph.tokens, graph.places, dict(graph.words))


def test_damaged_files_are_refused(graph, tmp_path):
    graph.save(tmp_path / "g")
    file = tmp_path / "g" / "graph.json"
    about = json.loads(file.read_text())
    for change, error in (({"hash": "0" * 64}, IntegrityError), ({"version": 9}, FormatError), ({"tokens": [1]}, FormatError),
                          ({"words": 3}, FormatError), ({"places": []}, FormatError)):  # fmt: skip
        file.write_text(json.dumps({**about, **change}))
        with pytest.raises(error):
            AttributionGraph.load(tmp_path / "g")


def test_neuronpedia_json_round_trip(graph, tmp_path):
    write_neuronpedia(graph, tmp_path / "n.json", slug="s", scan="gpt2")
    again = read_neuronpedia(tmp_path / "n.json")
    assert torch.equal(again.weight, graph.weight)
    assert torch.equal(again.source, graph.source)
    assert torch.allclose(again.influence(), graph.influence())
    assert [again.label(i) for i in range(len(again))] == [graph.label(i) for i in range(len(graph))]
    plain = json.loads((tmp_path / "n.json").read_text())
    assert {"metadata", "qParams", "nodes", "links"} <= set(plain)
    assert {"node_id", "feature", "layer", "ctx_idx", "feature_type", "jsNodeId", "clerp", "influence"} <= set(
        plain["nodes"][0]
    )
    assert len({n["node_id"] for n in plain["nodes"]}) == len(graph)


def test_a_graph_of_another_tool_is_read_and_a_broken_one_refused(tmp_path):
    node = {"run_idx": 0, "reverse_ctx_idx": 0, "clerp": "", "token_prob": 0.0, "is_target_logit": False}
    nodes = [
        {**node, "node_id": "E_5_0", "feature": 5, "layer": "E", "ctx_idx": 0, "feature_type": "embedding"},
        {**node, "node_id": "0_77_1", "feature": 77, "layer": "0", "ctx_idx": 1, "feature_type": "cross layer transcoder"},
        {**node, "node_id": "0_err_1", "feature": None, "layer": "0", "ctx_idx": 1, "feature_type": "mlp reconstruction error"},
        {**node, "node_id": "3_9_1", "feature": 9, "layer": "3", "ctx_idx": 1, "feature_type": "logit", "token_prob": 0.5,
         "clerp": 'Output " a" (p=0.5)'},
    ]  # fmt: skip
    links = [{"source": "E_5_0", "target": "0_77_1", "weight": 2.0}, {"source": "0_77_1", "target": "3_9_1", "weight": -1.0}]
    whole = {"metadata": {"slug": "x", "scan": "y", "prompt_tokens": ["a", "b"]}, "qParams": {}, "nodes": nodes, "links": links}
    file = tmp_path / "other.json"
    file.write_text(json.dumps(whole))
    graph = read_neuronpedia(file)
    assert str(graph.unit(1)) == "blocks.0.mlp.norm/transcoder[77]"
    assert graph.influence().tolist() == [0.5, 0.5, 0.0, 0.0]
    nowhere, endless = ([{"source": "E_5_0", "target": t, "weight": w}] for t, w in (("nowhere", 1.0), ("3_9_1", "1e999")))
    for change in ({"links": nowhere}, {"links": endless}, {"nodes": {}}, {"metadata": []}, {"nodes": [nodes[0], nodes[0]]}):
        file.write_text(json.dumps({**whole, **change}))
        with pytest.raises(FormatError):
            read_neuronpedia(file)


def test_graphml_is_read_by_networkx(graph, tmp_path):
    graph.graphml(tmp_path / "g.graphml")
    found = networkx.read_graphml(tmp_path / "g.graphml")
    assert (found.number_of_nodes(), found.number_of_edges()) == (len(graph), len(graph.source))


def test_hostile_text_stays_text_on_the_page(graph):
    page = graph.page("<script>alert(2)</script>", units="units.html#{unit}")
    assert "alert(1)</script>" not in page
    assert "<script>alert(2)" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert page.count("<script") == 2
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert "innerHTML" not in page
    assert "eval(" not in page
    for bad in ("javascript:alert(1)", " data:text/html,x"):
        with pytest.raises(UsageError, match="address"):
            graph.page(units=bad)
    with pytest.raises(UsageError, match="identifier"):
        block(graph, name='x" onload="y')
