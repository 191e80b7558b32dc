"""Edits against plain indexing: every kind at every kind of site, positions, bases, order, and what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from subject_slow import LENGTHS, convolutional, language, noise

from microtome.decompose.dictionary import SparseDictionary
from microtome.errors import ShapeError, SiteError, SubjectMismatch, UsageError
from microtome.subject.apply import Count, apply
from microtome.subject.basis import Identity, Linear
from microtome.subject.edit import Edit, ablate, clamp, derangement, freeze, patch, replace_with, scale, steer, swap
from microtome.subject.frame import Frame
from microtome.subject.site import Site

SITES = ("embed", "blocks.0.resid_post", "blocks.0.attn.z", "blocks.1.attn.q", "blocks.1.attn.pattern", "blocks.0.mlp.hidden")
POSITIONS = (None, 1, -1, [0, -2], torch.tensor([3, 0, -1]), torch.tensor([[0, 1], [2, -1], [0, -2]]))


@pytest.fixture(scope="module")
def models():
    return {pad: language("llama", pad) for pad in (None, "right", "left")}


def cells(position, starts, stops, length):
    """Which (example, column) an edit addresses, by a loop."""
    chosen = torch.zeros(len(starts), length, dtype=torch.bool)
    for i, (start, stop) in enumerate(zip(starts, stops)):
        if position is None:
            chosen[i] = True
            continue
        own = position[i] if isinstance(position, torch.Tensor) else position
        for p in torch.as_tensor(own).flatten().tolist():
            chosen[i, (stop if p < 0 else start) + p] = True
    return chosen


def expected(kind, old, chosen, source):
    """The site's values [n, position, ...] after an edit, cell by cell."""
    change = {
        "zero": torch.zeros_like(old), "patch": source, "scale": old * -1.5, "clamp": old.clamp(-0.1, 0.2),
        "steer": old + source[0, 0], "call": old.sin(),
    }[kind]  # fmt: skip
    wide = chosen.reshape(*chosen.shape, *[1] * (old.ndim - 2))
    return torch.where(wide, change, old)


def make(kind, site, source, position):
    if kind == "steer":
        return steer(site, source[0, 0], position=position)
    return {
        "zero": lambda: ablate(site, how="zero", position=position), "scale": lambda: scale(site, -1.5, position=position),
        "patch": lambda: patch(site, source, position=position), "call": lambda: replace_with(site, torch.sin, position=position),  # noqa: E501
        "clamp": lambda: clamp(site, low=-0.1, high=0.2, position=position),
    }[kind]()  # fmt: skip


@pytest.mark.parametrize("pad", [None, "right", "left"])
@pytest.mark.parametrize("site", SITES)
def test_every_edit_at_every_position_is_plain_indexing(models, site, pad):
    subject, inputs = models[pad]
    old = subject.run(inputs, record=[site])[site]
    pattern = site.endswith("pattern")
    rows_first = old.transpose(1, 2) if pattern else old
    lengths = LENGTHS if pad else (7, 7, 7)
    starts = [7 - k if pad == "left" else 0 for k in lengths]
    stops = [s + k for s, k in zip(starts, lengths)]
    source = noise(*rows_first.shape, seed=2)
    for position in POSITIONS:
        chosen = cells(position, starts, stops, 7)
        for kind in ("zero", "patch", "scale", "clamp", "steer", "call"):
            given = source.transpose(1, 2) if pattern and kind == "patch" else source
            edit = make(kind, site, given, position)
            run = subject.run(inputs, record=[site], edits=[edit])
            wanted = expected(kind, rows_first, chosen, source)
            wanted = wanted.transpose(1, 2) if pattern else wanted
            assert torch.equal(run[site], wanted), (kind, position)
            width = old[0].numel() // 7
            if not (position is not None and isinstance(position, torch.Tensor) and position.ndim == 2):
                assert run.touched == [int(chosen.sum()) * width]
            assert run.changed == [int((wanted != old).sum())]


def test_channels_of_images():
    subject, images = convolutional()
    with torch.no_grad():
        old = subject.module[0](images)
    one = subject.run(images, record=["0"], edits=[ablate("0", unit=[1, -1], how="zero")])["0"]
    wanted = old.clone()
    wanted[:, [1, 5]] = 0
    assert torch.equal(one, wanted)
    direction = torch.arange(6.0)  # as many channels as columns: channels are meant
    moved = subject.run(images, record=["0"], edits=[steer("0", direction)])["0"]
    assert torch.equal(moved, old + direction[:, None, None])
    mean = subject.run(images, record=["0"], edits=[ablate("0")])["0"]
    torch.testing.assert_close(mean, old.mean((0, 2, 3), keepdim=True).expand_as(old))
    basis = Linear("0", torch.eye(6)[:, :2])  # a basis reads the channels of each place
    gone = subject.run(images, record=["0"], edits=[scale("0", 0.0, basis=basis)])["0"]
    wanted = old.clone()
    wanted[:, :2] = 0
    torch.testing.assert_close(gone, wanted, atol=1e-6, rtol=1e-6)
    with pytest.raises(SiteError, match="no position axis"):
        subject.run(images, edits=[ablate("0", position=1)])


@pytest.mark.parametrize("site", ["blocks.0.resid_post", "blocks.1.attn.z"])
def test_means_are_over_real_tokens_and_single_examples_agree(models, site):
    for pad in ("right", "left"):
        subject, inputs = models[pad]
        old = subject.run(inputs, record=[site])[site]
        real = inputs["attention_mask"].bool()
        run = subject.run(inputs, record=[site], edits=[ablate(site, position=1)])
        column = 1 if pad == "right" else torch.tensor([1, 4, 3])
        torch.testing.assert_close(run[site][torch.arange(3), column], old[real].mean(0).expand(3, *old.shape[2:]))


@pytest.mark.parametrize("pad", ["right", "left"])
def test_resampling_takes_another_examples_real_tokens(models, pad):
    subject, inputs = models[pad]
    site = "blocks.0.resid_post"
    old = subject.run(inputs, record=[site])[site]
    new = subject.run(inputs, record=[site], edits=[ablate(site, how="resample", seed=4)])[site]
    other = derangement(3, 4).tolist()
    for i, k in enumerate(LENGTHS):
        for p in range(k):
            j, q = other[i], min(p, LENGTHS[other[i]] - 1)
            a, b = (7 - LENGTHS[i] if pad == "left" else 0), (7 - LENGTHS[j] if pad == "left" else 0)
            assert torch.equal(new[i, a + p], old[j, b + q])


@given(n=st.integers(2, 40), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=50)
def test_derangements_move_everyone(n, seed):
    order = derangement(n, seed)
    assert sorted(order.tolist()) == list(range(n))
    assert (order != torch.arange(n)).all()
    assert torch.equal(order, derangement(n, seed))


def test_edits_apply_in_the_order_given(models):
    subject, inputs = models[None]
    site = "blocks.0.resid_post"
    old = subject.run(inputs, record=[site])[site]
    add, times = steer(site, torch.ones(32)), scale(site, 2.0)
    assert torch.equal(subject.run(inputs, record=[site], edits=[add, times])[site], (old + 1) * 2)
    assert torch.equal(subject.run(inputs, record=[site], edits=[times, add])[site], old * 2 + 1)
    assert torch.equal(subject.run(inputs, record=[site], edits=[add, times, freeze(site)])[site], old)


def bases(width, site):
    q = torch.linalg.qr(noise(width, width, seed=3))[0]
    yield Identity(site, width)
    yield Linear(site, q)
    yield Linear(site, q[:, :5], offset=noise(width, seed=4))
    yield Linear(site, noise(width, 3 * width, seed=5))
    yield SparseDictionary(
        site, W_enc=noise(width, 40, seed=6), b_enc=noise(40), W_dec=noise(40, width, seed=7), b_dec=noise(width),
        activation="topk", k=4,
    )  # fmt: skip


@pytest.mark.parametrize("site", ["blocks.0.resid_post", "blocks.0.attn.z", "blocks.0.mlp.hidden"])
def test_identity_edits_through_every_basis_keep_every_bit(models, site):
    subject, inputs = models["left"]
    plain = subject.run(inputs, record=[site])
    width = plain[site].shape[2:].numel()  # at heads: all of them side by side, as a recording's matrix has them
    for basis in bases(width, site):
        for edit in (scale(site, 1.0, basis=basis), swap(site, plain[site], basis=basis), freeze(site)):
            run = subject.run(inputs, edits=[edit])
            assert torch.equal(run.logits, plain.logits), basis
            assert run.changed == [0]
            assert run.touched[0] > 0


def test_a_coordinate_changes_along_its_direction_alone(models):
    subject, inputs = models[None]
    site = "blocks.0.resid_post"
    old = subject.run(inputs, record=[site])[site]
    basis = Linear(site, torch.linalg.qr(noise(32, 32, seed=3))[0][:, :6])
    new = subject.run(inputs, record=[site], edits=[scale(site, 3.0, basis=basis, unit=2, position=4)])[site]
    z = basis.encode(old)
    wanted = old.clone()
    wanted[:, 4] += 2 * z[:, 4, 2:3] * basis.directions[2]
    torch.testing.assert_close(new, wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(new[:, :4], old[:, :4])


def test_a_latents_mean_is_the_mean_of_the_latent(models):
    subject, inputs = models["right"]
    site = "blocks.0.resid_post"
    *_, basis = bases(32, site)
    old = subject.run(inputs, record=[site])[site]
    z = basis.encode(old)
    unit = int(z.flatten(0, 1).amax(0).argmax())
    edited = subject.run(inputs, record=[site], edits=[ablate(site, basis=basis, unit=unit)])[site]
    mean = z[inputs["attention_mask"].bool()].mean(0)[unit]
    wanted = old + (mean - z[..., unit, None]) * basis.directions[unit]
    torch.testing.assert_close(edited, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("edit", "error", "words"),
    [
        (patch("blocks.0.resid_post", torch.zeros(3, 6, 32)), ShapeError, "6 positions"),
        (patch("blocks.0.resid_post", torch.zeros(3, 8, 32)), ShapeError, "8 positions"),
        (patch("blocks.0.resid_post", torch.zeros(3, 8, 32), position=1), ShapeError, "8 positions"),
        (patch("blocks.0.resid_post", torch.zeros(2, 7, 32)), ShapeError, "the whole site"),
        (patch("blocks.0.resid_post", torch.zeros(3, 7, 31)), ShapeError, "takes a scalar"),
        (steer("blocks.0.resid_post", torch.zeros(31)), ShapeError, "takes a scalar"),
        (steer("blocks.0.attn.z", torch.zeros(4, 7)), ShapeError, "takes a scalar"),
        (replace_with("blocks.0.resid_post", lambda x: x[:, :3]), ShapeError, "must return a tensor"),
        (replace_with("blocks.0.resid_post", lambda x: None), ShapeError, "NoneType"),
        (ablate("blocks.0.resid_post", position=torch.tensor([1, 2])), ShapeError, "one row per example"),
        (ablate("blocks.0.resid_post", position=7), UsageError, "position 7 does not exist in example 0"),
        (ablate("blocks.0.resid_post", position=[0, -8]), UsageError, "position -8"),
        (ablate("blocks.0.resid_post", position=1.5), UsageError, "position must be"),
        (ablate("blocks.0.resid_post", position=[]), UsageError, "empty"),
        (ablate("blocks.0.resid_post", position=torch.ones(3, 7, dtype=torch.bool)), UsageError, "must hold integers"),
        (ablate("blocks.0.resid_post", head=0), SiteError, "no head axis"),
        (ablate("blocks.0.attn.z", head=4), SiteError, "head 4 does not exist.*0..3"),
        (ablate("blocks.0.attn.z", head=-5), SiteError, "head -5 does not exist"),
        (ablate("blocks.0.mlp.hidden", unit=48), SiteError, "unit 48 does not exist"),
        (ablate("blocks.0.resid_post", basis=Linear("blocks.0.resid_post", torch.eye(32)[:, :3]), unit=3), SiteError, "coordinate 3"),  # noqa: E501
        (scale("blocks.0.resid_post", 2.0, basis=Linear("blocks.1.resid_post", torch.eye(32))), SubjectMismatch, "belongs to site"),  # noqa: E501
        (scale("blocks.0.resid_post", 2.0, basis=Linear("blocks.0.resid_post", torch.eye(31))), ShapeError, "takes tensors"),
        (ablate("blocks.0.resid_pots"), SiteError, "resid_post"),
    ],
)  # fmt: skip
def test_edits_that_cannot_be_are_refused(models, edit, error, words):
    subject, inputs = models[None]
    with pytest.raises(error, match=words):
        subject.run(inputs, edits=[edit])


@pytest.mark.parametrize(
    "build",
    [
        lambda: ablate("x", how="median"), lambda: clamp("x"), lambda: replace_with("x", 3), lambda: ablate("x", head=[]),
        lambda: ablate("x", unit="3"), lambda: ablate("x", unit=True), lambda: ablate("x", head=1.5), lambda: derangement(1, 0),
    ],
)  # fmt: skip
def test_constructors_refuse(build):
    with pytest.raises(UsageError):
        build()


def test_numbers_of_numpy_are_numbers():
    import numpy as np

    assert ablate("x", head=np.int64(2)).head == 2
    assert ablate("x", unit=np.array([1, 2])).unit == [1, 2]
    assert ablate("x", unit=torch.tensor([1, 2])).unit == [1, 2]


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_apply_changes_the_addressed_cells_and_no_other(data):
    n, length, heads, units = (data.draw(st.integers(1, 4)) for _ in range(4))
    value = noise(n, length, heads, units)
    site = Site("x", "x", "output", axes=("batch", "position", "head", "unit"))
    choose = lambda size: data.draw(  # noqa: E731
        st.none() | st.integers(-size, size - 1) | st.lists(st.integers(-size, size - 1), min_size=1, max_size=3)
    )
    position, head, unit = choose(length), choose(heads), choose(units)
    count = Count()
    new = apply(Edit("x", "set", 7.0, position, head, unit), value, site, Frame.full(n, length), count)
    wanted, all_of = value.clone(), lambda v, size: range(size) if v is None else [v] if isinstance(v, int) else v
    for p in all_of(position, length):
        for h in all_of(head, heads):
            for u in all_of(unit, units):
                wanted[:, p, h, u] = 7.0
    assert torch.equal(new, wanted)
    assert count.touched > 0


def test_functions_may_work_in_place_without_touching_the_original(models):
    subject, inputs = models[None]
    plain = subject.run(inputs, record=["blocks.0.resid_post"])
    run = subject.run(inputs, edits=[replace_with("blocks.0.resid_post", lambda x: x.zero_())])
    assert run.changed == [plain["blocks.0.resid_post"].numel()]
