"""Edits through bases that read one site and write another, against the arithmetic done by hand."""

import pytest
import torch

import microtome as mt
from microtome.decompose import Crosscoder, Transcoder
from microtome.errors import SiteError, SubjectMismatch, UsageError
from microtome.organisms.small import decoder
from microtome.subject.bind import Metric
from microtome.subject.inputs import as_inputs

R, W = "blocks.1.mlp.norm", "blocks.1.mlp.out"


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def subject():
    return mt.Subject(decoder(11, layers=3, heads=2, width=16, context=12))


@pytest.fixture(scope="module")
def ids():
    return torch.randint(0, 11, (4, 6), generator=torch.Generator().manual_seed(1))


def basis(reads=R, writes=W, skip=False, k=None):
    return Transcoder(
        reads, writes=writes, W_enc=draw(16, 24, seed=2), b_enc=draw(24, seed=3), W_dec=draw(24, 16, seed=4),
        b_dec=draw(16, seed=5), W_skip=draw(16, 16, seed=6) if skip else None, activation="topk" if k else "relu", k=k,
    )  # fmt: skip


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("k", [None, 5])
def test_an_edit_changes_the_code_and_keeps_the_error(subject, ids, skip, k):
    t = basis(skip=skip, k=k)
    clean = subject.run(ids, record=[R, W])
    z = t.encode(clean[R])
    for edit, change in {
        mt.ablate(W, how="zero", unit=[3, 8], basis=t): lambda z: z.index_fill_(-1, torch.tensor([3, 8]), 0.0),
        mt.scale(W, 2.5, basis=t): lambda z: z.mul_(2.5),
        mt.clamp(W, low=1.0, high=1.0, unit=0, basis=t): lambda z: z.index_fill_(-1, torch.tensor([0]), 1.0),
    }.items():
        run = subject.run(ids, record=[R, W], edits=[edit])
        new = change(z.clone())
        torch.testing.assert_close(run[W], clean[W] + t.decode(new) - t.decode(z))
        assert torch.equal(run[R], clean[R])
        assert run.touched == [ids.numel() * 16]


def test_positions_mean_and_values_of_another_run(subject, ids):
    t = basis()
    clean, other = subject.run(ids, record=[R, W]), subject.run(ids.flip(0), record=[R, W])
    z = t.encode(clean[R])
    run = subject.run(ids, record=[W], edits=[mt.ablate(W, how="zero", unit=2, basis=t, position=-1)])
    assert torch.equal(run[W][:, :-1], clean[W][:, :-1])
    torch.testing.assert_close(run[W][:, -1], (clean[W] - z[..., 2:3] * t.W_dec[2])[:, -1])
    run = subject.run(ids, record=[W], edits=[mt.ablate(W, unit=2, basis=t)])
    torch.testing.assert_close(run[W], clean[W] + (z[..., 2:3].mean() - z[..., 2:3]) * t.W_dec[2])
    run = subject.run(ids, record=[W], edits=[mt.patch(W, other, unit=[2, 4], basis=t)])
    change = (t.encode(other[R]) - z)[..., [2, 4]] @ t.W_dec[[2, 4]]
    torch.testing.assert_close(run[W], clean[W] + change)


def test_the_code_is_that_of_the_edited_input_whatever_the_order_of_the_edits(subject, ids):
    t, push = basis(), mt.steer(R, torch.ones(16))
    pushed = subject.run(ids, record=[R, W], edits=[push])
    z = t.encode(pushed[R])
    cut = mt.ablate(W, how="zero", unit=[1, 2], basis=t)
    for edits in ([push, cut], [cut, push]):
        run = subject.run(ids, record=[W], edits=edits)
        torch.testing.assert_close(run[W], pushed[W] - z[..., [1, 2]] @ t.W_dec[[1, 2]])


def test_sweep_context_and_gradients_agree_with_run(subject, ids):
    t = basis()
    edits = [mt.ablate(W, how="zero", unit=i, basis=t) for i in range(5)] + [mt.ablate("blocks.2.mlp.out", how="zero")]
    none = torch.zeros(4, dtype=torch.long)
    metric = Metric(lambda logits, answers, wrong: logits[..., 3], none, none, torch.full((4,), 5))
    swept = subject.sweep(ids, edits, metric)
    for edit, values in zip(edits, swept.values):
        torch.testing.assert_close(values, subject.run(ids, edits=[edit]).logits[:, -1, 3], rtol=1e-4, atol=1e-5)
    with subject.edit(edits[2]):
        inside = subject.module(ids).logits
    torch.testing.assert_close(inside, subject.run(ids, edits=[edits[2]]).logits)
    values, grads = subject.gradients(ids, [R], metric, edits=[mt.scale(W, 0.0, basis=t)])
    step = 1e-2 * grads[R] / grads[R].norm()
    moved, _ = subject.gradients(ids, [W], metric, edits=[mt.steer(R, step[0, 0], position=0), mt.scale(W, 0.0, basis=t)])
    assert torch.isfinite(moved).all()
    assert torch.isfinite(values).all()
    assert not torch.equal(subject.module(ids).logits, inside)  # nothing is left behind


def test_generation_with_a_cache_is_edited_like_whole_sequences(subject, ids):
    t = basis()
    edit = mt.scale(W, 0.0, basis=t)
    with subject.edit(edit):
        made = subject.module.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=4, do_sample=False, pad_token_id=0
        )
    for length in range(6, 10):
        logits = subject.run(as_inputs(made[:, :length]), edits=[edit]).logits[:, -1]
        assert torch.equal(logits.argmax(-1), made[:, length])


def test_refusals(subject, ids):
    t = basis()
    with pytest.raises(SubjectMismatch, match=r"blocks\.1\.mlp\.out"):
        subject.run(ids, edits=[mt.ablate(R, how="zero", basis=t)])
    with pytest.raises(SiteError, match="come after"):
        subject.run(ids, edits=[mt.ablate(R, how="zero", basis=basis(reads=W, writes=R))])
    with pytest.raises(UsageError, match="how='mean'"):
        subject.run(ids, edits=[mt.ablate(W, how="resample", basis=t)])
    eye = torch.eye(32)
    both = Crosscoder(f"{R}+{W}", sites=[R, W], widths=[16, 16], W_enc=eye, b_enc=eye[0], W_dec=eye, b_dec=eye[0])
    with pytest.raises(UsageError, match="choose one"):
        subject.run(ids, edits=[mt.ablate(W, how="zero", basis=both)])
    with pytest.raises(SiteError, match="come after"):
        subject.run(ids, edits=[mt.ablate(R, how="zero", basis=both.at(R))])
    clean = subject.run(ids, record=[R, W])
    run = subject.run(ids, record=[W], edits=[mt.ablate(W, how="zero", unit=20, basis=both.at(W))])
    z = both.encode(torch.cat([clean[R], clean[W]], -1))
    torch.testing.assert_close(run[W][..., 4], clean[W][..., 4] - z[..., 20])
