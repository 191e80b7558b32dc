"""Latents explained by regions and grounded elsewhere: planted properties, an explainer of one's own, loops as oracle."""

import numpy as np
import pytest
import torch

from microtome.decompose import lmm_sae_interp
from microtome.decompose.lmm_sae_interp import majority
from microtome.errors import ShapeError, UsageError
from microtome.subject.basis import Identity
from microtome.subject.recording import Recording
from microtome.subject.recording.halves import halves

IMAGES, PLACES = 40, 9


def seen(seed=0):
    """Unit 0 is red, unit 1 round, unit 2 noise, unit 3 fires on every second red place."""
    g = np.random.default_rng(seed)
    red, round_ = g.random((2, IMAGES * PLACES)) < 0.25
    x = np.abs(0.02 * g.normal(size=(IMAGES * PLACES, 4)))
    x[:, 0] += red * g.uniform(0.6, 1.0, len(red))
    x[:, 1] += round_ * g.uniform(0.6, 1.0, len(red))
    x[:, 2] = g.random(len(red)) * 0.9
    x[:, 3] += red * (g.random(len(red)) < 0.5)
    index = {"sample": np.repeat(np.arange(IMAGES), PLACES)}
    return Recording.of(
        torch.tensor(x), site="patches", index=index, labels={"red": red, "round": round_, "thing": red | round_}
    )


def test_planted_properties_are_recovered():
    found = lmm_sae_interp(seen(), Identity("patches", 4), latents=[0, 1, 2, 3], draws=19)
    table = found.table.set_index("latent")
    assert table.loc[0, "explanation"] == "red"
    assert table.loc[1, "explanation"] == "round"
    assert table.loc[[0, 1], "iou"].tolist() == [1.0, 1.0]
    assert 0.3 < table.loc[3, "iou"] < 0.7
    assert table.loc[2, "iou"] < 0.5
    assert (table["iou_shuffled"] < 0.5).all()
    assert found.verdict == "supported"


def test_the_overlap_equals_counting_by_loops():
    recording = seen(1)
    found = lmm_sae_interp(recording, Identity("patches", 4), latents=[3], top=3, level=0.5, draws=1, seed=4)
    x, red = recording.matrix().numpy()[:, 3], recording.labels("red")
    first = halves(recording, 0.5, 4)[0]
    peaks = {s: max(x[s * PLACES : (s + 1) * PLACES]) for s in range(IMAGES) if first[s * PLACES]}
    threshold = 0.5 * np.mean(sorted(peaks.values())[-3:])
    both = sum(1 for i in range(len(x)) if not first[i] and x[i] > threshold and red[i])
    either = sum(1 for i in range(len(x)) if not first[i] and (x[i] > threshold or red[i]))
    assert found.table["iou"][0] == pytest.approx(both / either)


def test_each_latent_can_have_a_level_of_its_own_from_the_images_it_is_named_from():
    """Unit 0 is red from half of its peak on, unit 1 round from a fifth on, and below that both fire on everything."""
    recording = seen(2)
    x = recording.matrix().clone()
    red, round_ = (torch.tensor(recording.labels(name)) for name in ("red", "round"))
    g = torch.Generator().manual_seed(0)
    low, high = torch.rand(len(x), generator=g, dtype=x.dtype), torch.rand(len(x), generator=g, dtype=x.dtype)
    x[:, 0] = torch.where(red, 0.6 + 0.4 * high, 0.48 * low)
    x[:, 1] = torch.where(round_, 0.25 + 0.75 * high, 0.18 * low)
    index = {"sample": recording.index["sample"].to_numpy()}
    labels = {name: recording.labels(name) for name in recording.properties}
    weak = Recording.of(x, site="patches", index=index, labels=labels)
    fixed, own = (
        lmm_sae_interp(weak, Identity("patches", 4), latents=[0, 1], level=level, draws=19).table.set_index("latent")
        for level in (0.25, None)
    )
    assert own.loc[[0, 1], "explanation"].tolist() == ["red", "round"]
    assert own.loc[[0, 1], "iou"].tolist() == [1.0, 1.0]
    assert own.loc[[0, 1], "level"].tolist() == [0.5, 0.2]
    assert fixed.loc[0, "iou"] < 0.6
    assert fixed.loc[[0, 1], "level"].tolist() == [0.25, 0.25]
    assert (own["iou_shuffled"] < 0.5).all()


def test_the_most_selective_latents_are_looked_at():
    found = lmm_sae_interp(seen(), Identity("patches", 4), latents=2, draws=1)
    assert set(found.table["latent"]) == {0, 1}
    assert (found.table["auroc"] == 1.0).all()


def test_an_explainer_of_ones_own_sees_the_masked_rows():
    asked = []

    def explain(recording, rows):
        asked.append(rows)
        return "thing"

    recording = seen()
    found = lmm_sae_interp(recording, Identity("patches", 4), latents=[0], explain=explain, top=4, draws=1)
    assert recording.labels("red")[asked[0]].all()
    assert len(np.unique(recording.index["sample"].to_numpy()[asked[0]])) == 4
    assert found.table["explanation"][0] == "thing"
    assert found.table["iou"][0] < 0.7


def test_of_names_that_fit_equally_the_rarer_one_is_taken():
    recording = seen()
    rows = np.flatnonzero(recording.labels("red") & ~recording.labels("round"))
    assert majority(recording, rows) == "red"
    assert majority(recording, rows[:0]) in recording.properties


def test_places_must_be_a_grid_and_answers_properties():
    recording = seen()
    with pytest.raises(ShapeError, match="places"):
        lmm_sae_interp(recording.select(np.arange(100)), Identity("patches", 4))
    with pytest.raises(UsageError, match="purple"):
        lmm_sae_interp(recording, Identity("patches", 4), explain=lambda recording, rows: "purple")
