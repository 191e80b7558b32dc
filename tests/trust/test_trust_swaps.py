"""Promise 21: a basis, recording or circuit of another model, tokenizer, layer or dtype is refused."""

import copy
import random

import pytest
import torch
from subject_slow import noise
from test_record import TEXTS, speaker
from tokenizers_small import WORDS, letters, words

from microtome.errors import MicrotomeError, SubjectMismatch
from microtome.subject.basis import Linear
from microtome.subject.edit import ablate, scale
from microtome.subject.subject import Subject
from microtome.trace.circuit import Circuit
from microtome.trace.nodes import Node

SITE, OTHER = "blocks.0.resid_post", "blocks.1.resid_post"
DTYPES = [torch.float64, torch.bfloat16]
CHAT = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def _one_cell(subject, draw):
    parameter = draw.choice(list(subject.module.parameters()))
    cell = draw.randrange(parameter.numel())
    with torch.no_grad():
        parameter.view(-1)[cell] += 1e-3 + float(parameter.view(-1)[cell].abs())
    return subject


def _buffer(subject, draw):
    subject.module.transformer.h[0].attn.register_buffer("scale", torch.ones(1), persistent=False)
    return subject


def _setting(subject, draw):
    subject.module.transformer.h[draw.randrange(2)].ln_1.eps *= 10
    return subject


def _with(tokenizer):
    return lambda subject, draw: Subject(subject.module, tokenizer(draw))


SWAPS = {
    "other weights": lambda subject, draw: subject.twin("weight_shuffle", seed=draw.randrange(10**6)),
    "drawn again": lambda subject, draw: subject.twin("reinit", seed=draw.randrange(10**6)),
    "one cell": _one_cell,
    "another buffer": _buffer,
    "another eps": _setting,
    "two words swapped": _with(lambda draw: words("[BOS] $A", swap=tuple(draw.sample(WORDS, 2)))),
    "no beginning": _with(lambda draw: words("")),
    "another beginning": _with(lambda draw: words("[BOS] $A", bos_token="[UNK]")),
    "another padding": _with(lambda draw: words("[BOS] $A", pad_token="[EOS]")),
    "padding on the left": _with(lambda draw: words("[BOS] $A", padding_side="left")),
    "a chat template": _with(lambda draw: _chatty()),
    "another tokenizer": _with(lambda draw: letters("[BOS] $A")),
    "no tokenizer": lambda subject, draw: Subject(subject.module),
    "another dtype": lambda subject, draw: Subject(subject.module.to(draw.choice(DTYPES)), subject.tokenizer),
}  # fmt: skip


def _chatty():
    tokenizer = words("[BOS] $A")
    tokenizer.chat_template = CHAT
    return tokenizer


def other_subject(swap, draw):
    return SWAPS[swap](Subject(copy.deepcopy(speaker().module), words("[BOS] $A")), draw)


@pytest.mark.parametrize("swaps", [30, pytest.param(100, marks=pytest.mark.slow)])
def test_every_swap_is_refused(tmp_path, swaps):
    own = speaker()
    known = own.fingerprint()
    basis = Linear(SITE, noise(16, 5), subject=known)
    circuit = Circuit((Node(SITE),), (Node(SITE), Node(OTHER)), subject=known)
    ids = own.tokens(TEXTS)
    own.run(ids, edits=[scale(SITE, 2.0, basis=basis, unit=1)])
    circuit.require(own)
    draw = random.Random(0)
    for k in range(swaps):
        swap = list(SWAPS)[k % len(SWAPS)]
        other = other_subject(swap, draw)
        assert other.fingerprint() != known, swap
        for edits in ([scale(SITE, 2.0, basis=basis, unit=1)], [scale(OTHER, 1.0), ablate(SITE, basis=basis)]):
            with pytest.raises(SubjectMismatch):
                other.run(ids, edits=edits)
        with pytest.raises(SubjectMismatch), other.edit(scale(SITE, 2.0, basis=basis)):
            pass
        with pytest.raises(SubjectMismatch):
            circuit.require(other)
        folder = tmp_path / str(k)
        unfinished(own, ids, folder)
        with pytest.raises(MicrotomeError, match="another plan"):
            other.record(ids, [SITE], to=folder)
        own.record(ids, [SITE], to=folder)


def unfinished(subject, ids, folder):
    """A recording that was interrupted at its first sample."""

    def stop(*_):
        if stop.calls:
            raise KeyboardInterrupt
        stop.calls += 1  # the first forward only tells shapes

    stop.calls = 0
    handle = subject.module.register_forward_pre_hook(stop)
    try:
        with pytest.raises(KeyboardInterrupt):
            subject.record(ids, [SITE], to=folder)
    finally:
        handle.remove()


def test_a_recording_is_not_continued_with_other_data_or_sites(tmp_path):
    subject = speaker()
    ids = subject.tokens(TEXTS)
    unfinished(subject, ids, tmp_path / "r")
    changed = type(ids)({**ids.tensors, "input_ids": ids["input_ids"].flip(0)})
    for data, sites, options in (
        (changed, [SITE], {}), (ids, [OTHER], {}),
        (ids, [SITE], {"positions": "last"}), (ids, [SITE], {"dtype": torch.float64}),
    ):  # fmt: skip
        with pytest.raises(SubjectMismatch, match="another plan"):
            subject.record(data, sites, to=tmp_path / "r", **options)
    subject.record(ids, [SITE], to=tmp_path / "r")


def test_a_basis_of_another_layer_is_refused_and_other_names_of_its_own_accepted():
    subject = speaker()
    ids = subject.tokens(TEXTS)
    basis = Linear(SITE, noise(16, 5))
    with pytest.raises(SubjectMismatch, match="belongs to site"):
        subject.run(ids, edits=[scale(OTHER, 2.0, basis=basis)])
    named = Linear("blocks.0.hook_resid_post", noise(16, 5))
    for site in (SITE, "blocks.0.hook_resid_post"):
        for one in (basis, named):
            subject.run(ids, edits=[scale(site, 2.0, basis=one)])


def test_the_same_subject_loaded_twice_is_the_same(tmp_path):
    own, again = speaker(), Subject(copy.deepcopy(speaker().module), words("[BOS] $A"))
    assert own.fingerprint() == again.fingerprint()
    own.tokens(["the cat", "a"])  # using a tokenizer changes nothing
    own.run(["the cat sat"])
    assert own.fingerprint() == again.fingerprint()
    again.run(again.tokens(TEXTS), edits=[scale(SITE, 2.0, basis=Linear(SITE, noise(16, 5), subject=own.fingerprint()))])


def test_a_change_after_the_first_use_is_noticed():
    subject = speaker()
    ids = subject.tokens(TEXTS)
    edit = scale(SITE, 2.0, basis=Linear(SITE, noise(16, 5), subject=subject.fingerprint()))
    subject.run(ids, edits=[edit])
    with torch.no_grad():
        subject.module.transformer.wte.weight[3, 4] += 1
    with pytest.raises(SubjectMismatch):
        subject.run(ids, edits=[edit])
    with torch.no_grad():
        subject.module.transformer.wte.weight.copy_(speaker().module.transformer.wte.weight)
    subject.run(ids, edits=[edit])
