"""Effects against slow oracles, identities, and planted heads."""

import numpy as np
import pytest
import torch
from slow_patching import head_effects, path_effects

import microtome as mt
from microtome.evidence import auroc
from microtome.subject.basis import Linear
from microtome.trace import (
    Edge,
    Node,
    activation_patching,
    agreement,
    attribution_patching,
    mediation,
    nodes,
    path_patching,
)


@pytest.mark.parametrize("direction", ["denoising", "noising"])
@pytest.mark.parametrize("which", ["planted", "grouped"])
def test_activation_patching_equals_a_slow_loop_of_hooks(which, direction, planted, grouped):
    subject, task = (planted.subject, planted.task) if which == "planted" else grouped
    found = activation_patching(subject, task, nodes="head", direction=direction)
    assert found.effect == pytest.approx(head_effects(subject.module, 4, task, direction), abs=2e-4)


@pytest.mark.parametrize("kind", ["layer_position", "layer", "mlp", "component", "head_position"])
def test_activation_patching_agrees_with_one_run_per_node(kind, grouped):
    subject, task = grouped
    bound = subject.bind(task)
    found = activation_patching(subject, task, nodes=kind)
    base = subject.run(bound.corrupt).logits[:, -1]
    for i in range(0, len(found.nodes), 5):
        node = found.nodes[i]
        source = subject.run(bound.inputs, record=[node.site])[node.site]
        logits = subject.run(bound.corrupt, edits=[node.patch(source)]).logits[:, -1]
        expected = bound.metric(logits) - bound.metric(base)
        assert found.change[i] == pytest.approx(expected.double().numpy(), abs=1e-4)


@pytest.mark.parametrize("direction", ["denoising", "noising"])
def test_patching_everything_has_effect_one(direction, grouped, planted):
    for subject, task in (grouped, (planted.subject, planted.task)):
        last = subject.facts.blocks - 1
        everything = [Node("blocks.0.resid_pre"), Node(f"blocks.{last}.resid_post")]
        found = activation_patching(subject, task, nodes=everything, direction=direction)
        assert found.effect == pytest.approx([1, 1], abs=1e-4)


def test_the_last_position_of_the_last_layer_is_everything_and_others_nothing(grouped):
    subject, task = grouped
    site = f"blocks.{subject.facts.blocks - 1}.resid_post"
    found = activation_patching(subject, task, nodes=[Node(site, position=p) for p in (0, 1, 2, 3, 4, -1)])
    assert found.effect == pytest.approx([0, 0, 0, 0, 1, 1], abs=1e-4)


@pytest.mark.parametrize("receiver", [None, (1, 3), (2, 0)])
@pytest.mark.parametrize("freeze_mlps", [False, True])
def test_path_patching_equals_two_passes_by_hand(receiver, freeze_mlps, grouped):
    subject, task = grouped
    targets = "logits" if receiver is None else [Node(f"blocks.{receiver[0]}.attn.q", head=receiver[1])]
    found = path_patching(subject, task, receivers=targets, freeze_mlps=freeze_mlps)
    expected = path_effects(subject.module, 4, task, receiver, freeze_mlps)
    assert found.effect == pytest.approx(expected, abs=2e-4)
    if receiver is not None:
        later = [e for n, e in zip(found.nodes, found.effect) if n.layer >= receiver[0]]
        assert np.abs(later).max() < 1e-4
        assert np.abs(found.effect).max() > 1e-3


def test_an_edge_has_the_effect_of_its_path(grouped):
    subject, task = grouped
    senders = nodes(subject, "head")[:4]
    for receiver in (None, Node("blocks.2.attn.k", head=1)):
        edges = activation_patching(subject, task, nodes=[Edge(s, receiver) for s in senders], direction="noising")
        paths = path_patching(subject, task, senders=senders, receivers=[receiver] if receiver else "logits", freeze_mlps=True)
        assert edges.effect == pytest.approx(paths.effect, abs=1e-5)


def test_attribution_patching_is_exact_on_a_linear_model(scm, treatment):
    turned, _ = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    rotation = Linear("first", turned, name="rotation")
    wanted = [Node("first"), Node("second", unit=2), Node("x_to_first"), *nodes(scm, rotation)]
    exact, first_order = (f(scm, treatment, nodes=wanted) for f in (activation_patching, attribution_patching))
    assert first_order.change == pytest.approx(exact.change, abs=1e-10)
    assert first_order.effect[3:].sum() == pytest.approx(first_order.effect[0])
    assert (exact.exact, first_order.exact) == (True, False)
    assert agreement(exact, first_order)["pearson"] == pytest.approx(1)


def test_mediation_agrees_with_the_matrices_of_the_causal_model(scm, treatment):
    truth = scm.organism.truth
    wanted = [Node("first"), Node("second"), *(Node("first", unit=u) for u in range(8)), *map(Node, truth.arrows)]
    expected = [truth.through("first"), truth.through("second"), *(truth.unit("first", u) for u in range(8)),
                *(truth.arrow(a) for a in truth.arrows)]  # fmt: skip
    table = mediation(scm, treatment, nodes=wanted).table
    side = torch.tensor([1.0, -1.0])
    assert table["indirect"].to_numpy() == pytest.approx([float(side @ e[:, 0]) for e in expected], abs=1e-6)
    assert table["total"].to_numpy() == pytest.approx(float(side @ truth.total[:, 0]), abs=1e-6)
    assert table["interaction"].abs().max() < 1e-10
    assert mediation(scm, treatment, nodes=["x_to_first"]).provenance.forwards > 0


@pytest.mark.parametrize("method", [activation_patching, attribution_patching, path_patching])
def test_the_planted_heads_are_recovered(method, ioi):
    """Heads with a direct part in the answer; upstream heads act only when both sides of a score are right."""
    task = ioi.organism.examples(64, 2)
    found = method(ioi, task) if method is path_patching else method(ioi, task, nodes="head")
    parts = ioi.organism.truth.of("mover", "negative mover")
    labels = np.array([(n.layer, n.head) in parts for n in found.nodes])
    assert float(np.ravel(auroc(np.abs(found.effect)[:, None], labels))[0]) == 1
    assert set(found.table.loc[found.table.q < 0.05, "node"]) >= {f"a{b}.h{h}" for b, h in parts}


def test_noising_recovers_the_upstream_heads_too(ioi):
    """Without either upstream head the movers look at the subject: AUROC of all working heads at least 0.95."""
    found = activation_patching(ioi, ioi.organism.examples(64, 2), nodes="head", direction="noising")
    parts = ioi.organism.truth.of("mover", "negative mover", "s-inhibition", "tagger")
    labels = np.array([(n.layer, n.head) in parts for n in found.nodes])
    assert float(np.ravel(auroc(np.abs(found.effect)[:, None], labels))[0]) >= 0.95


def test_integrated_gradients_are_nearer_to_the_exact_effects(grouped):
    subject, task = grouped
    exact = activation_patching(subject, task, nodes=["blocks.0.resid_pre"])
    errors = [abs(attribution_patching(subject, task, nodes=["blocks.0.resid_pre"], steps=s).effect - exact.effect)[0]
              for s in (1, 64)]  # fmt: skip
    assert errors[1] < 0.05 < errors[0]


@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_window_patches_exactly_its_layers_together(width, grouped):
    subject, task = grouped
    sites = [f"blocks.{b}.mlp.out" for b in range(3)]
    found = activation_patching(subject, task, nodes=sites, window=width)
    bound = subject.bind(task)
    source = subject.run(bound.inputs, record=sites)
    base = bound.metric(subject.run(bound.corrupt).logits[:, -1])
    for b in range(3):
        near = [s for s in range(3) if -((width - 1) // 2) <= s - b <= width // 2]
        edits = [mt.patch(sites[s], source[sites[s]]) for s in near]
        expected = bound.metric(subject.run(bound.corrupt, edits=edits).logits[:, -1]) - base
        assert found.change[b] == pytest.approx(expected.double().numpy(), abs=1e-4)


def test_a_convolutional_network_is_patched_at_its_layers():
    subject = mt.load("organism:vision-cnn")
    pictures = subject.organism.examples(32).inputs
    with torch.no_grad():
        logits = subject.run(pictures).logits
    classes = logits.argmax(-1)
    other = torch.stack([(classes != c).nonzero()[0, 0] for c in classes])
    pairs = mt.Task("shape", pictures, pictures[other], classes, classes[other], kind="image", groups=list(range(32)))
    sites = ["conv1", "conv4", "classifier"]
    found = activation_patching(subject, pairs, nodes=nodes(subject, "layer", sites=sites))
    assert found.effect == pytest.approx([1, 1, 1], abs=1e-4)
    channels = activation_patching(subject, pairs, nodes=[Node("conv4", unit=u) for u in range(64)])
    first_order = attribution_patching(subject, pairs, nodes=channels.nodes)
    assert channels.effect.sum() == pytest.approx(1, abs=0.5)
    assert agreement(channels, first_order)["pearson"] > 0.8
