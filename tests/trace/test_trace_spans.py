"""Span patching and binding vectors: whole tokens exchanged at every layer."""

import numpy as np
import pytest
import torch

import microtome as mt
from microtome.errors import SiteError, UsageError
from microtome.organisms.small import decoder
from microtome.stimuli.task import Task
from microtome.subject.edit import Edit
from microtome.trace import binding_vectors, span_patching
from microtome.trace.binding_vectors import difference, random_like
from microtome.trace.spans import moved, set_tokens, stream_sites


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def world(request):
    subject = mt.Subject(decoder(12, layers=2, heads=2, width=16, context=8, family=request.param, seed=1))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in subject.module.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    clean, corrupt = (torch.randint(0, 12, (12, 6), generator=generator) for _ in range(2))
    roles = {name: [(i, i + 1)] * 12 for i, name in enumerate(("entity0", "entity1", "attribute0", "attribute1"))}
    answers = torch.arange(12)
    return subject, Task("any", clean, corrupt, answers, (answers + 1) % 12, roles=roles, kind="tokens", groups=list(range(12)))


def test_replacing_the_first_token_of_equal_contexts_equals_the_other_prompt_identity(world):
    """Identity: the first token's streams depend on nothing else, so replacing them is replacing the token."""
    subject, task = world
    other = task.clean.clone()
    other[:, 0] = task.corrupt[:, 0]
    bound = subject.bind(task)
    effects = span_patching(subject, task, roles=["entity0"])
    plain, changed = (bound.metric(subject.run(x).logits[:, -1]) for x in (task.clean, other))
    assert np.allclose(effects.change[0], (plain - changed).detach().double().numpy(), atol=1e-4)


def test_span_patching_equals_one_run_per_role_oracle(world):
    """Oracle: set every block's input at the token, one run per role."""
    subject, task = world
    bound = subject.bind(task)
    effects = span_patching(subject, task)
    sites = stream_sites(subject)
    source = subject.run(task.corrupt, record=sites, logits="none")
    plain = bound.metric(subject.run(task.clean).logits[:, -1])
    for node, change in zip(effects.nodes, effects.change):
        place = int(bound.roles[node.role][0])
        edits = [mt.patch(s, source[s], position=place) for s in sites]
        slow = plain - bound.metric(subject.run(task.clean, edits=edits).logits[:, -1])
        assert np.allclose(change, slow.double().numpy(), atol=1e-4), node
    assert list(effects.table["node"]) == sorted(bound.roles)


def test_all_tokens_exchanged_give_the_corrupt_prompt():
    """Replacing every token but the last, which is shared, carries the whole difference."""
    subject = mt.Subject(decoder(12, layers=2, heads=2, width=16, context=8, seed=2))
    generator = torch.Generator().manual_seed(1)
    clean, corrupt = (torch.randint(0, 12, (6, 4), generator=generator) for _ in range(2))
    corrupt[:, -1] = clean[:, -1]
    sites = stream_sites(subject)
    source = subject.run(corrupt, record=sites)
    edits = set_tokens({s: source[s] for s in sites}, [torch.full((6,), p) for p in range(3)])
    torch.testing.assert_close(subject.run(clean, edits=edits).logits[:, -1], source.logits[:, -1], atol=1e-5, rtol=1e-4)


def test_binding_vectors_agree_with_edits_by_hand_oracle(world):
    """Oracle: mean differences on one half, and on the other half both tokens set to their moved streams."""
    subject, task = world
    found = binding_vectors(subject, task, draws=3, seed=4).table.set_index("intervention")
    fitted, held = task.split(4)
    sites = stream_sites(subject)
    fit_run, run = (subject.run(t.clean, record=sites) for t in (fitted, held))
    delta = {s: (fit_run[s][:, 1] - fit_run[s][:, 0]).mean(0) for s in sites}
    for site, value in difference(subject, subject.bind(fitted), ["entity0", "entity1"]).items():
        torch.testing.assert_close(value, delta[site])
    edits = []
    for s in sites:
        edits += [Edit(s, "set", run[s][:, 0] + delta[s], 0), Edit(s, "set", run[s][:, 1] - delta[s], 1)]
    bound = subject.bind(held)
    slow = bound.metric(subject.run(held.clean, edits=edits).logits[:, -1])
    assert found.loc["entities", "difference"] == pytest.approx(float(slow.mean()), abs=1e-4)
    assert found.loc["entities", "exchanged"] == pytest.approx(float((slow < 0).float().mean()))
    plain = bound.metric(run.logits[:, -1])
    assert found.loc["none", "difference"] == pytest.approx(float(plain.mean()), abs=1e-4)


def test_moving_there_and_back_changes_nothing(world):
    subject, task = world
    sites = stream_sites(subject)
    run = subject.run(task.clean, record=sites)
    values = {s: run[s] for s in sites}
    columns = torch.zeros(12, dtype=torch.long)
    vectors = {s: torch.ones(16) for s in sites}
    back = moved(moved(values, [(columns, vectors)]), [(columns, {s: -v for s, v in vectors.items()})])
    for s in sites:
        torch.testing.assert_close(back[s], values[s], atol=1e-5, rtol=1e-5)
    logits = subject.run(task.clean, edits=set_tokens(values, [columns])).logits
    torch.testing.assert_close(logits, run.logits, atol=1e-5, rtol=1e-4)


def test_random_vectors_have_the_norms_of_the_given_ones():
    vectors = {"a": torch.arange(5.0), "b": torch.ones(3)}
    drawn = random_like(vectors, torch.Generator().manual_seed(0))
    for name, vector in vectors.items():
        assert float(drawn[name].norm()) == pytest.approx(float(vector.norm()), rel=1e-5)


def test_refusals_of_spans(world):
    subject, task = world
    with pytest.raises(UsageError, match="two roles"):
        binding_vectors(subject, task, entities=["entity0"])
    with pytest.raises(UsageError, match="no role 'place'"):
        span_patching(subject, task, roles=["place"])
    with pytest.raises(SiteError, match="residual stream"):
        stream_sites(mt.Subject(torch.nn.Linear(2, 2)))
