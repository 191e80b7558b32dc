"""Maps, pointing, class latents and groups of latents: loops as oracles, a planted classifier, refusals."""

import numpy as np
import pytest
import torch
from torch import nn

import microtome as mt
from microtome.decompose import drop_latents, keep_latents, latent_groups, mammo_sae, rebuilt
from microtome.decompose.places import maps, overlap, pointing
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.subject.basis import Identity, Linear
from microtome.subject.recording import Recording

IMAGES, PLACES, UNITS = 40, 16, 6


def patches(seed=0, offset=0.0):
    """Unit 0 lies on the region, unit 1 marks labelled images at place 5, the others are noise."""
    g = np.random.default_rng(seed)
    label = np.arange(IMAGES) % 2 == 0
    region = np.zeros((IMAGES, PLACES), dtype=bool)
    for i in np.flatnonzero(label):
        region[i, g.integers(0, 5)] = True  # never place 5
    x = g.random((IMAGES, PLACES, UNITS)) * 0.3 + offset
    x[region, 0] += 2
    x[label, 5, 1] += 3
    index = {"sample": np.repeat(np.arange(IMAGES), PLACES), "y": np.tile(np.arange(PLACES) // 4, IMAGES),
             "x": np.tile(np.arange(PLACES) % 4, IMAGES)}  # fmt: skip
    return Recording.of(torch.tensor(x.reshape(-1, UNITS)), site="map", index=index, labels={"lesion": region.ravel()})


def test_pointing_and_overlap_equal_loops():
    g = np.random.default_rng(1)
    values, region = g.normal(size=(20, 9, 4)), g.random((20, 9)) < 0.2
    values[:5, :, 2] = -1.0
    accuracy, fires = pointing(values, region)
    for k in range(4):
        hits, fired, shown = 0, 0, 0
        for i in range(20):
            if not region[i].any():
                continue
            shown += 1
            if max(values[i, :, k]) > 0:
                fired += 1
                hits += bool(region[i, int(np.argmax(values[i, :, k]))])
        assert accuracy[k] == pytest.approx(hits / max(fired, 1))
        assert fires[k] == pytest.approx(fired / shown)
    assert overlap(np.array([True, True, False]), np.array([False, True, False])) == pytest.approx(0.5)
    assert overlap(np.zeros(3, bool), np.zeros(3, bool)) == 0
    with pytest.raises(Degenerate, match="empty"):
        pointing(values, np.zeros_like(region))


def test_maps_follow_the_samples_whatever_the_order_of_rows():
    recording = patches()
    order = np.random.default_rng(2).permutation(len(recording))
    mixed, sorted_ = maps(recording.select(order), Identity("map", UNITS)), maps(recording, Identity("map", UNITS))
    assert np.allclose(np.sort(mixed.values, axis=1), np.sort(sorted_.values, axis=1))
    with pytest.raises(ShapeError, match="places"):
        maps(recording.select(np.arange(len(recording) - 1)), Identity("map", UNITS))


def test_class_latents_and_confounders_equal_what_was_planted():
    found = mammo_sae(patches(), Identity("map", UNITS), label="lesion", top=3, draws=99)
    table = found.table.set_index("latent")
    assert set(table.index[:2]) == {0, 1}
    assert found.verdict == "supported"
    assert table.loc[0, "pointing"] == 1.0
    assert not table.loc[0, "off_region"]
    assert table.loc[1, "pointing"] == 0.0
    assert table.loc[1, "off_region"]
    assert (table["p"].iloc[:2] <= 0.01).all()
    assert table["p"].iloc[2] > 0.05
    x = patches().tensor().numpy().reshape(IMAGES, PLACES, UNITS)
    label = np.arange(IMAGES) % 2 == 0
    slow = x[label].mean((0, 1)) - x[~label].mean((0, 1))
    assert np.allclose(table["difference"], slow[table.index])


def test_a_latent_at_a_fixed_place_does_not_pass_for_one_that_points():
    """It follows the label, and its place is often in the region; but not more often than in another image's region."""
    recording = patches()
    fixed = np.zeros((IMAGES, PLACES), dtype=bool)
    fixed[np.arange(IMAGES) % 2 == 0, 5] = True
    labelled = recording.add_labels({"corner": fixed.ravel()})
    found = mammo_sae(labelled, Identity("map", UNITS), label="lesion", region="corner", top=1)
    assert found.table["pointing"].iloc[0] in (0.0, 1.0)
    assert found.verdict == "not supported"


class Reader(nn.Module):
    """Class 1 where the mean of channel 0 of the map is above that of channel 1."""

    def __init__(self):
        super().__init__()
        self.map = nn.Identity()

    def forward(self, x):
        mean = self.map(x).mean((2, 3))
        return torch.stack([mean[:, 1], mean[:, 0]], 1)


def test_groups_of_latents_are_kept_and_removed_at_the_channels_of_a_map():
    g = torch.Generator().manual_seed(0)
    x = torch.rand(60, 4, 3, 3, generator=g)
    answers = (torch.arange(60) % 2).long()
    x[answers == 1, 0] += 1.0
    x[answers == 0, 1] += 1.0
    subject, basis = mt.Subject(Reader()), Identity("map", 4)
    table = latent_groups(subject, x, answers, basis, [0, 1], draws=3)
    assert table["clean"].iloc[0] == table["rebuilt"].iloc[0] == 1.0
    assert table["keep"].tolist()[0] == 0.5
    assert table["keep"].tolist()[2] == 1.0
    assert table["drop"].tolist()[2] == 0.5
    assert table["drop_random"].tolist()[1:] == [1.0, 1.0]
    kept = subject.run(x, edits=[keep_latents(basis, [2])], record=["map"])["map"]
    assert torch.equal(kept[:, 2], x[:, 2])
    assert not kept[:, [0, 1, 3]].any()
    dropped = subject.run(x, edits=[drop_latents(basis, [2])], record=["map"])["map"]
    assert torch.equal(dropped[:, [0, 1, 3]], x[:, [0, 1, 3]])
    assert not dropped[:, 2].any()


def test_what_is_removed_can_stand_at_its_mean():
    """A read-out with a threshold does not notice that: the mean map is what it was, with 0 it is not."""
    g = torch.Generator().manual_seed(2)
    x, basis = torch.rand(10, 4, 3, 3, generator=g), Identity("map", 4)
    mean = x.mean((0, 2, 3))
    out = mt.Subject(Reader()).run(x, edits=[keep_latents(basis, [1], fill=mean)], record=["map"])["map"]
    assert torch.equal(out[:, 1], x[:, 1])
    assert torch.allclose(out.mean((0, 2, 3)), mean, atol=1e-6)
    out = mt.Subject(Reader()).run(x, edits=[drop_latents(basis, [1], fill=mean)], record=["map"])["map"]
    assert torch.equal(out[:, [0, 2, 3]], x[:, [0, 2, 3]])
    assert torch.allclose(out[:, 1], mean[1].expand(10, 3, 3))
    answers = torch.arange(10) % 2
    table = latent_groups(mt.Subject(Reader()), x, answers, basis, [0, 1], fill="mean", draws=1)
    assert table["drop"].iloc[2] in (0.5, table["keep"].iloc[0])
    with pytest.raises(UsageError, match="fill"):
        latent_groups(mt.Subject(Reader()), x, answers, basis, [0], fill="median")


def test_what_is_rebuilt_is_what_the_basis_decodes_and_its_error_is_gone():
    g = torch.Generator().manual_seed(1)
    x = torch.rand(4, 3, 3, 3, generator=g)  # as many channels as rows and columns: channels come first
    basis = Linear("map", torch.randn(3, 2, generator=g))
    out = mt.Subject(Reader()).run(x, edits=[rebuilt(basis)], record=["map"])["map"]
    for i in range(3):
        for j in range(3):
            assert torch.allclose(out[:, :, i, j], basis.decode(basis.encode(x[:, :, i, j])), atol=1e-6)


def test_latents_that_are_not_there_are_refused():
    basis = Identity("map", UNITS)
    for wrong in ([6], [-1], [1, 1]):
        with pytest.raises(UsageError, match=r"0\.\.5"):
            keep_latents(basis, wrong)
    x = torch.rand(8, 6, 2, 2)
    with pytest.raises(UsageError, match="live"):
        latent_groups(mt.Subject(Reader()), x, torch.zeros(8).long(), basis, [0, 1, 2, 3])
    with pytest.raises(ShapeError, match="6 units"):
        mt.Subject(Reader()).run(torch.rand(2, 3, 2, 2), edits=[rebuilt(basis)])
