"""Only what follows a site runs again: the same numbers, one row below it, refusals where it would be wrong, no hooks left."""

import peer_models as models
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from microtome.attribute import (
    conductance,
    ends,
    integrated_gradients,
    integrated_jacobians,
    internal_influence,
    kernel_shap,
    paths,
)
from microtome.attribute.suffix import suffix_of
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.act, self.two = nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x):
        return self.act(self.two(self.act(self.one(x))) + x)


class Residual(nn.Module):
    """A stem, two blocks with a way around them, a head; with `shortcut` the stem also reaches the head directly."""

    def __init__(self, shortcut: bool = False):
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True)
        self.blocks, self.head, self.shortcut = nn.Sequential(Block(), Block()), nn.Linear(6, 5), shortcut

    def forward(self, x):
        first = self.act(self.stem(x))
        y = self.blocks(first)
        return self.head(F.relu(y + first if self.shortcut else y).mean((2, 3)))


def case(module: nn.Module, x=None):
    x = models.images() if x is None else x
    kind = "tokens" if x.dtype == torch.long else "image"
    task = Task("t", x, x.flip(0), models.TARGETS, (models.TARGETS + 1) % 5, kind=kind, groups=[0, 1, 2, 3])
    return Subject(module), task


def in_full(monkeypatch, make):
    with monkeypatch.context() as patched:
        patched.setattr(paths, "suffix_of", lambda *_: None)
        return make()


SITES = ["blocks.1", "blocks.1:input", "blocks.1.one", "blocks.1.two", "blocks.0.act", "blocks.0", "head:input"]


@pytest.mark.parametrize("site", SITES)
def test_integrals_at_a_layer_equal_those_of_whole_forwards(site, monkeypatch):
    subject, task = case(models.drawn(Residual()))
    if site == "blocks.0.act":  # fires twice: nothing may be passed over
        assert suffix_of(subject, subject.bind(task), site) is None
        return
    assert suffix_of(subject, subject.bind(task), site) is not None
    found = integrated_gradients(subject, task, at=site, baseline="corrupt", steps=12)
    slow = in_full(monkeypatch, lambda: integrated_gradients(subject, task, at=site, baseline="corrupt", steps=12))
    torch.testing.assert_close(found.values, slow.values, rtol=1e-11, atol=1e-14)
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in subject.module.modules()) == 0


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("site", ["blocks.1.resid_pre", "blocks.1.attn.z", "blocks.0.resid_post", "final_norm"])
def test_decoders_too(family, site, monkeypatch):
    subject, task = case(models.decoder(family), models.ids())
    assert suffix_of(subject, subject.bind(task), site) is not None
    found = integrated_gradients(subject, task, at=site, steps=9)
    slow = in_full(monkeypatch, lambda: integrated_gradients(subject, task, at=site, steps=9))
    torch.testing.assert_close(found.values, slow.values, rtol=1e-6, atol=1e-10)


def test_masks_of_a_layer_run_what_follows_it(monkeypatch):
    subject, task = case(models.drawn(Residual()))
    seen: list[int] = []
    subject.module.stem.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    found = kernel_shap(subject, task, at="blocks.1", baseline="corrupt", samples=400).values
    assert max(seen) == 2 * 4  # everybody and nobody; the coalitions hand on a row
    monkeypatch.setattr(ends, "suffix_of", lambda *_: None)
    slow = kernel_shap(subject, task, at="blocks.1", baseline="corrupt", samples=400).values
    assert max(seen) > 2 * 4
    torch.testing.assert_close(found, slow, rtol=1e-9, atol=1e-12)


def test_pairs_whose_metric_has_many_columns(monkeypatch):
    subject, task = case(models.decoder("llama"), models.ids())
    make = lambda: integrated_jacobians(subject, task, at="blocks.1.resid_pre", steps=10).values  # noqa: E731
    torch.testing.assert_close(make(), in_full(monkeypatch, make), rtol=1e-6, atol=1e-10)


def test_layers_below_see_one_row_of_each_chunk():
    subject, task = case(models.drawn(Residual()))
    seen, late = [], []
    subject.module.stem.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    subject.module.head.register_forward_hook(lambda _m, args, _o: late.append(len(args[0])))
    integrated_gradients(subject, task, at="blocks.1", steps=40)
    # Two points, input, baseline, the first run of the suffix; its check and the chunks hand on a row each.
    assert sorted(seen, reverse=True)[:4] == [8, 4, 4, 4]
    assert set(sorted(seen, reverse=True)[4:]) == {1}
    assert sum(late) == 4 * (40 + 4)


def test_what_is_read_past_the_site_is_never_passed_over(monkeypatch):
    subject, task = case(models.drawn(Residual(shortcut=True)))
    assert suffix_of(subject, subject.bind(task), "blocks.1") is None
    found = integrated_gradients(subject, task, at="blocks.1", steps=12)
    slow = in_full(monkeypatch, lambda: integrated_gradients(subject, task, at="blocks.1", steps=12))
    torch.testing.assert_close(found.values, slow.values, rtol=0, atol=0)
    # Gradients are asked below the site that is set: it must run.
    subject, task = case(models.drawn(Residual()))
    assert suffix_of(subject, subject.bind(task), "blocks.1", ["stem"]) is None
    assert suffix_of(subject, subject.bind(task), "stem") is None
    assert float(internal_influence(subject, task, at="blocks.1", steps=12).values.abs().max()) > 0


@pytest.mark.parametrize("method", [integrated_gradients, conductance])
def test_chunks_keep_to_their_budget_at_any_number_of_steps(method, monkeypatch):
    """What a point keeps for its backward is measured, not guessed from the size of the input."""
    subject, task = case(models.drawn(Residual()))
    with paths._kept(subject.module) as kept:
        whole = method(subject, task, steps=8).values
    rows = []
    subject.module.head.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0])))
    monkeypatch.setattr(paths, "CHUNK_BYTES", 3 * max(sum(kept.values()) // 12, 1))
    torch.testing.assert_close(method(subject, task, steps=8).values, whole, rtol=1e-11, atol=1e-14)
    few = max(rows)
    rows.clear()
    method(subject, task, steps=50)
    assert 4 <= few <= 24
    assert max(rows) <= max(few, 12)
