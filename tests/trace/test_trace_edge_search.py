"""Scorers of edges that search or look: ACDC, learned masks, information-flow routes."""

import pytest
import torch
from slow_edges import true_edges

from microtome.trace import acdc, edge_masks, information_flow_routes
from microtome.trace.masked import masked_metric
from microtome.trace.measured import bound_pairs
from microtome.trace.reference import reference_values
from microtome.trace.wires import wires


def test_acdc_equals_a_loop_over_single_cuts(planted):
    subject, task = planted.subject, planted.task[:4]
    bound, graph = bound_pairs(subject, task), wires(subject)
    reference = reference_values(subject, bound, graph, "corrupt")

    def worse(mask):
        return -float(masked_metric(subject, bound.inputs, bound.metric, graph, reference, mask[None].float()).mean())

    kept = graph.allowed.clone()
    here = worse(kept)
    for j in reversed(range(len(graph.receivers))):
        for i in reversed(graph.allowed[:, j].nonzero()[:, 0].tolist()):
            tried = kept.clone()
            tried[i, j] = False
            if worse(tried) - here < 0.02:
                kept, here = tried, worse(tried)
    found = acdc(subject, task, threshold=0.02, objective="metric")
    assert ((found.scores >= 0.02) == kept.numpy()).all()
    assert 1 < kept.sum() < 20


def test_acdc_recovers_the_circuit_by_divergence(ioi):
    found = acdc(ioi, ioi.organism.examples(4, 3))
    assert found.auroc(true_edges(ioi, found), pairs=True) > 0.9
    assert found.score("a1.h0->logits") > 0.01 > found.score("a1.h1->logits")


def test_edge_masks_recover_the_true_edges(ioi):
    task = ioi.organism.examples(8, 3)
    graph = edge_masks(ioi, task, steps=40, batch=8)
    assert graph.auroc(true_edges(ioi, graph), pairs=True) > 0.9
    assert (edge_masks(ioi, task, steps=2).scores == edge_masks(ioi, task, steps=2).scores).all()


def test_information_flow_routes_equal_distances_by_hand(planted):
    subject, task = planted.subject, planted.task
    graph = information_flow_routes(subject, task)
    sites = ["embed", "blocks.1.resid_post", *(f"blocks.{b}.{s}" for b in (0, 1) for s in ("attn.z", "mlp.out"))]
    run, size = subject.run(task.clean, record=sites), subject.facts.d_head
    x, wanted = run["blocks.1.resid_post"][:, -1], []
    for node in graph.senders:
        if node.head is None:
            out = run[node.site][:, -1]
        else:
            rows = slice(node.head * size, (node.head + 1) * size)
            out = run[node.site][:, -1, node.head] @ subject.module.transformer.h[node.layer].attn.c_proj.weight[rows]
        wanted.append((x.abs().sum(-1) - (x - out).abs().sum(-1)).clamp_min(0))
    share = torch.stack(wanted) / torch.stack(wanted).sum(0)
    assert graph.scores[:, -1] == pytest.approx(share.mean(1).detach().numpy(), abs=1e-5)
    assert (graph.scores >= 0).all()
