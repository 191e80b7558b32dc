"""Promise 20: after runs with an exception at a random hook, nothing of the subject or the process has changed."""

import random

import pytest
import torch
from subject_slow import convolutional, language, metric_for
from tiny import BY_NAME
from trust_state import state_of

from microtome.subject.bind import Metric
from microtome.subject.edit import ablate, freeze, replace_with, scale
from microtome.subject.subject import Subject


class Planted(Exception):
    """The exception that the tests throw."""


def fail(*_):
    raise Planted


def subjects():
    for name in ("gpt2", "llama", "gemma2", "bert"):
        subject, inputs = language(name, "right")
        yield subject, inputs, metric_for(inputs)
    subject, images = convolutional()
    subject.module[2].weight.requires_grad_(False)
    none = torch.zeros(3, dtype=torch.long)
    yield subject, subject.inputs(images), Metric(lambda logits, *_: logits[:, 0], none, none, None)
    case = BY_NAME["t5"]
    subject = Subject(case.build())
    inputs = subject.inputs(case.inputs())
    yield subject, inputs, metric_for(inputs, "decoder")


def attempt(subject, inputs, metric, draw, tmp):
    """One random use with a failure planted at a random place."""
    names = [s.name for s in subject.sites() if s.name not in ("logits",) and s.axes != ()] or ["0", "2"]
    site, other = draw.choice(names), draw.choice(names)
    edits = [scale(other, 1.0)] * draw.randint(0, 2) + [replace_with(site, fail)]
    patterns = [n for n in names if n.endswith("pattern")]
    if patterns and draw.random() < 0.5:
        edits.insert(0, freeze(draw.choice(patterns)))
    plain = [n for n in names if not n.endswith("pattern")]
    how = draw.choice(["run", "gradients", "sweep", "context", "record", "metric", "module"])
    if how == "run":
        subject.run(inputs, record=[draw.choice(names)], edits=edits, logits="last")
    elif how == "gradients":
        subject.gradients(inputs, [draw.choice(plain)], metric, edits=edits)
    elif how == "sweep":
        subject.sweep(inputs, [scale(other, 0.5), edits], metric)
    elif how == "context":
        with subject.edit(*(e for e in edits if e.op != "clean")):
            subject.run(inputs)
    elif how == "metric":
        subject.gradients(inputs, [draw.choice(plain)], fail)
    else:
        modules = [m for _, m in subject.module.named_modules()]
        handle = draw.choice(modules).register_forward_hook(fail)
        try:
            if how == "record":
                subject.record(inputs, [draw.choice(plain)], to=tmp if draw.random() < 0.3 else None)
            else:
                subject.sweep(inputs, [ablate(n, how="zero") for n in draw.sample(plain, 2)], metric)
        finally:
            handle.remove()


@pytest.mark.parametrize("runs", [60, pytest.param(500, marks=pytest.mark.slow)])
def test_an_exception_at_a_random_hook_leaves_nothing_behind(tmp_path, runs):
    draw, thrown = random.Random(0), 0
    known = [(s, i, m, state_of(s)) for s, i, m in subjects()]
    for k in range(runs):
        subject, inputs, metric, _ = known[k % len(known)]
        try:
            attempt(subject, inputs, metric, draw, tmp_path / str(k))
        except Planted:
            thrown += 1
        if k % 10 == 9 or k > runs - 7:
            assert state_of(subject) == dict(known[k % len(known)][3], python=random.getstate())
    for subject, inputs, _, before in known:
        assert state_of(subject) == before
        torch.testing.assert_close(subject.run(inputs).logits, subject.run(inputs).logits, rtol=0, atol=0)
    assert thrown > runs / 2


def test_uses_that_succeed_leave_nothing_behind_either(tmp_path):
    for subject, inputs, metric in subjects():
        before = state_of(subject)
        plain = [s.name for s in subject.sites() if s.at != "pattern"][:6]
        everything = [s.name for s in subject.sites() if s.name != "logits"]
        subject.run(inputs, record=everything if subject.trunks else plain)
        subject.run(inputs, edits=[ablate(plain[1], how="resample")])
        subject.gradients(inputs, plain[:2], metric)
        subject.sweep(inputs, [ablate(n, how="zero") for n in plain[:3]], metric)
        subject.record(inputs, plain[1:2], to=tmp_path / subject.name)
        subject.twin("reinit", seed=3)
        subject.twin("weight_shuffle", seed=3)
        assert state_of(subject) == before
