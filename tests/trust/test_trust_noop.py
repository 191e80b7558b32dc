"""Promise 19: no edit that aims wrong passes silently; counts are per call."""

import pytest
import torch
from subject_slow import language, metric_for, noise
from torch import nn

from microtome.errors import EditTouchedNothing, MicrotomeError
from microtome.subject.basis import Linear
from microtome.subject.bind import Metric
from microtome.subject.edit import ablate, clamp, freeze, patch, replace_with, scale, steer, swap
from microtome.subject.subject import Subject

#: Constructor -> edit at a site with what of position, head and unit it takes; `source` is a value like the site.
EDITS = {
    "ablate mean": lambda site, source, **at: ablate(site, **at),
    "ablate zero": lambda site, source, **at: ablate(site, how="zero", **at),
    "ablate resample": lambda site, source, **at: ablate(site, how="resample", **at),
    "patch": lambda site, source, **at: patch(site, source, **at),
    "steer": lambda site, source, **at: steer(site, source[0, 0], **_only(at, "position", "head")),
    "scale": lambda site, source, **at: scale(site, 0.5, **at),
    "clamp": lambda site, source, **at: clamp(site, high=0.0, **at),
    "swap": lambda site, source, **at: swap(
        site, source, basis=Linear(site, torch.eye(source.shape[-1])[:, :4]), **_only(at, "position", "unit")
    ),
    "replace": lambda site, source, **at: replace_with(site, torch.zeros_like, **_only(at, "position")),
    "freeze": lambda site, source, **at: freeze(site, **_only(at, "head")),
    "freeze to": lambda site, source, **at: freeze(site, source, **_only(at, "head")),
}
STREAM, HEADS = "blocks.0.resid_post", "blocks.1.attn.z"


class NotTaken(Exception):
    """The constructor has no such argument."""


def _only(at, *names):
    if set(at) - set(names):
        raise NotTaken
    return at


class Branches(nn.Module):
    """Uses one of two layers."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return self.used(x)


@pytest.fixture(scope="module")
def model():
    subject, inputs = language("llama", "right")
    kept = subject.run(inputs, record=[STREAM, HEADS])
    return subject, inputs, kept[STREAM], kept[HEADS]


def wrong_aims(model, make):
    """Twelve wrong aims of one kind of edit, as calls that must fail."""
    subject, inputs, stream, heads = model
    metric = metric_for(inputs)
    branches, x = Subject(Branches()), noise(3, 5, 8)
    good, total = scale("used", 0.5), Metric(lambda out, *_: out.sum((1, 2)), torch.zeros(3).long(), torch.ones(3).long(), None)
    earlier = noise(3, 9, 32)  # of an earlier trace of longer prompts
    yield "a typo", lambda: subject.run(inputs, edits=[make("blocks.0.resid_psot", stream)])
    yield "a layer too far", lambda: subject.run(inputs, edits=[make("blocks.2.resid_post", stream)])
    yield "no positions", lambda: subject.run(inputs, edits=[make(STREAM, stream, position=[])])
    yield "one position too far", lambda: subject.run(inputs, edits=[make(STREAM, stream, position=4)])
    yield "positions of another batch", lambda: subject.run(inputs, edits=[make(STREAM, stream, position=torch.tensor([1, 2]))])
    yield "one head too far", lambda: subject.run(inputs, edits=[make(HEADS, heads, head=4)])
    yield "one unit too far", lambda: subject.run(inputs, edits=[make(STREAM, stream, unit=32)])
    yield "a head where there is none", lambda: subject.run(inputs, edits=[make(STREAM, stream, head=0)])
    yield "a module that is not used", lambda: branches.run(x, edits=[make("unused", x)])
    yield "the second of two", lambda: branches.run(x, edits=[good, make("unused", x)])
    yield "after the run has stopped", lambda: subject.run(
        inputs, record=["embed"], edits=[make(STREAM, stream)], logits="none"
    )
    yield "in a sweep, the second of two", lambda: branches.sweep(
        x, [good, [good, make("unused", x)]], total
    )
    yield "another stack", lambda: subject.run(inputs, edits=[make("encoder.blocks.0.resid_post", stream)])
    yield "a parameter", lambda: branches.run(x, edits=[make("used.weight", x)])
    yield "a sweep past the end", lambda: subject.sweep(inputs, [make(STREAM, stream, position=6)], metric)
    yield "a context that saw nothing", lambda: _context(subject, [make(STREAM, stream)], lambda: None)
    yield "a context at a place never reached", lambda: _context(
        subject, [make(STREAM, stream, position=40)], lambda: subject.run(inputs)
    )
    yield "the gradients of a run without it", lambda: branches.gradients(
        x, ["used"], lambda out: out.sum((1, 2)), edits=[make("unused", x)]
    )
    if make in (EDITS["patch"], EDITS["freeze to"], EDITS["swap"]):
        yield "an earlier trace's tensor", lambda: subject.run(inputs, edits=[make(STREAM, earlier)])
        yield "an earlier trace's batch", lambda: subject.run(inputs, edits=[make(STREAM, stream[:2])])


def _context(subject, edits, use):
    with subject.edit(*edits):
        use()


@pytest.mark.parametrize("kind", EDITS)
def test_no_wrong_aim_passes_silently(model, kind):
    tried = 0
    for aim, call in wrong_aims(model, EDITS[kind]):
        try:
            with pytest.raises(MicrotomeError):
                call()
        except NotTaken:
            continue
        except pytest.fail.Exception:
            pytest.fail(f"{kind}, {aim}: passed silently")
        tried += 1
    assert tried >= 12


@pytest.mark.parametrize("kind", EDITS)
def test_the_right_aim_passes_and_is_counted_per_call(model, kind):
    subject, inputs, stream, _ = model
    edit = EDITS[kind](STREAM, stream)
    for _ in range(3):
        run = subject.run(inputs, edits=[edit])
        assert run.touched == [stream.numel()]
    none = subject.run(inputs, edits=[patch(STREAM, stream)])
    assert (none.touched, none.changed) == ([stream.numel()], [0])


def test_an_edit_that_fired_before_must_fire_again():
    class Fickle(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.calls = nn.Linear(3, 3), nn.Linear(3, 3), 0

        def forward(self, x):
            self.calls += 1
            return self.a(x) if self.calls == 1 else self.b(x)

    subject, edit = Subject(Fickle()), scale("a", 2.0)
    assert subject.run(noise(2, 3), edits=[edit]).touched == [6]
    with pytest.raises(EditTouchedNothing):
        subject.run(noise(2, 3), edits=[edit])
