"""Scenes: pixels and masks agree, concepts are balanced and independent, every seed is usable."""

import numpy as np
import pytest
import torch

from microtome.errors import UsageError
from microtome.stimuli.vision import CONCEPTS, SHAPES, scenes, watermarked
from microtome.stimuli.vision.draw import CORNER, RGB, SHADE, STAMPS
from microtome.stimuli.vision.scenes import layers, pictures


@pytest.fixture(scope="module")
def many():
    return scenes(3000, seed=7, watermark=0.5)


def test_same_seed_same_bytes_and_other_seed_other_bytes():
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    assert scenes(20, 3).fingerprint() == scenes(20, 3).fingerprint() != scenes(20, 4).fingerprint()
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_500_seeds_are_not_degenerate():
    """Each small draw has pixels in range, a visible object in every scene, and more than one class."""
    for seed in range(500):
        codes, drawn, inside, _ = layers(12, seed)
        assert drawn.dtype == np.float32
        assert 0.0 <= drawn.min() < drawn.max() <= 1.0
        assert inside.sum((1, 2)).min() >= 30
        assert len(set(codes["shape"])) > 1
        assert drawn.reshape(12, -1).std(1).min() > 0.02


def test_masks_partition_and_name_the_right_scenes(many):
    m = many.masks
    assert bool((m["object"].int() + m["backdrop"] + m["stamp"] == 1).all())
    assert bool((m["second-tone"] <= m["object"]).all())
    for concept, values in CONCEPTS.items():
        region = m["backdrop" if concept == "background" else "object"]
        assert torch.equal(torch.stack([m[f"{concept}:{v}"] for v in values]).any(0), region)
        for value in values:
            shown = torch.tensor((many.table[concept] == value).to_numpy())
            assert torch.equal(m[f"{concept}:{value}"].any(2).any(1), shown)


def test_object_pixels_have_the_stated_colour_and_others_are_grey(many):
    """Read the colours back off the pixels, without the code that painted them."""
    codes = many.table["colour"].map({c: i for i, c in enumerate(CONCEPTS["colour"])}).to_numpy()
    noise = 0.021
    for i in range(200):
        bright = many.masks["object"][i] & ~many.masks["second-tone"][i]
        dark = many.masks["second-tone"][i]
        for mask, factor in ((bright, 1.0), (dark, SHADE)):
            if mask.any():
                off = many.inputs[i][:, mask] - factor * torch.from_numpy(RGB[codes[i]])[:, None]
                assert float(off.abs().max()) <= noise
        grey = many.inputs[i][:, many.masks["backdrop"][i]]
        assert torch.equal(grey[0], grey[1])
        assert torch.equal(grey[0], grey[2])


def test_texture_has_two_tones_except_plain(many):
    two = many.masks["second-tone"].any(2).any(1).numpy()
    assert (two == (many.table["texture"] != "plain").to_numpy()).all()


def test_position_and_size_agree_with_the_mask():
    s = scenes(500, 1)
    y, x = np.mgrid[:32, :32]
    for i in np.flatnonzero(s.table["shape"].isin(["circle", "square", "cross"])):
        mask = s.masks["object"][i].numpy()
        assert abs(y[mask].mean() - s.table["y"][i]) < 0.6
        assert abs(x[mask].mean() - s.table["x"][i]) < 0.6
    area = s.masks["object"].sum((1, 2)).numpy()
    means = [area[s.table["size"] == v].mean() for v in CONCEPTS["size"]]
    assert means[0] < 0.7 * means[1] < 0.7 * means[2]


def test_concepts_are_uniform_and_independent(many):
    from scipy.stats import chi2_contingency, chisquare

    names = list(CONCEPTS)
    for i, one in enumerate(names):
        assert chisquare(many.table[one].value_counts()).pvalue > 1e-3
        for other in names[i + 1 :]:
            counts = many.table.groupby([one, other]).size().unstack(fill_value=0)
            assert chi2_contingency(counts).pvalue > 1e-3, (one, other)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_watermark_share_and_class(share):
    s = scenes(2000, 2, watermark=share)
    marked = s.masks["stamp"].any(2).any(1).numpy()
    assert abs(marked.mean() - share) < 0.04
    assert (s.table["watermark"][marked] == s.table["shape"][marked]).all()
    assert (s.table["watermark"][~marked] == "none").all()
    for i in np.flatnonzero(marked)[:50]:
        corner = s.inputs[i][:, CORNER[0], CORNER[1]].numpy()
        assert (corner == STAMPS[s.table["label"][i]].astype(np.float32)).all()


def test_the_watermark_changes_nothing_else():
    plain, marked = scenes(100, 5), scenes(100, 5, watermark=1.0)
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[CORNER] = True
    assert torch.equal(plain.inputs[..., ~inside], marked.inputs[..., ~inside])
    assert (plain.table.drop(columns="watermark") == marked.table.drop(columns="watermark")).all().all()


def test_watermarked_puts_the_stamp_that_was_asked_for():
    plain = scenes(60, 9)
    before = plain.fingerprint()
    marks = torch.arange(60) % 4
    s = watermarked(plain, marks)
    assert plain.fingerprint() == before
    assert s.table["watermark"].tolist() == [SHAPES[m] for m in marks]
    assert (s.table["shape"] == plain.table["shape"]).all()
    assert not bool((s.masks["object"] & s.masks["stamp"]).any())
    assert torch.equal(watermarked(s, marks).inputs, s.inputs)


def test_pictures_are_the_scenes():
    images, labels = pictures(50, 4, watermark=0.7)
    s = scenes(50, 4, watermark=0.7)
    assert torch.equal(images, s.inputs)
    assert labels.tolist() == s.table["label"].tolist()


def test_pixel_area_alone_does_not_tell_the_class(many):
    """A threshold on the object's area must stay far from what a shape reader reaches."""
    from sklearn.model_selection import cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    area = many.masks["object"].sum((1, 2)).numpy()[:, None]
    size = many.table["size"].map({"small": 0, "medium": 1, "large": 2}).to_numpy()[:, None]
    features = np.concatenate([area, size], axis=1)
    assert cross_val_score(DecisionTreeClassifier(max_depth=6), features, many.table["label"], cv=3).mean() < 0.75


@pytest.mark.parametrize(("n", "share"), [(0, 0.0), (5, -0.1), (5, 1.1)])
def test_refusals(n, share):
    with pytest.raises(UsageError, match="scenes needs"):
        scenes(n, watermark=share)


def test_watermarked_refuses_other_lengths_and_classes():
    s = scenes(3)
    for marks in (torch.tensor([0, 1]), torch.tensor([0, 1, 4]), torch.tensor([0, 1, -1])):
        with pytest.raises(UsageError, match="one mark"):
            watermarked(s, marks)
