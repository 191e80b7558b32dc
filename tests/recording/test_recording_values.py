"""Disk equals memory for every method, and both equal what a loop over the rows gives."""

import numpy as np
import pandas as pd
import pytest
import recording_synthetic as synthetic
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.errors import Degenerate, NonFinite, ShapeError, SiteError, SubjectMismatch, UsageError
from microtome.subject.recording import Plan, Recording, ShardWriter

MLP, Z = "blocks.0.mlp.out", "blocks.1.attn.z"


class Doubling:
    """A basis that is two copies of the site's units."""

    def __init__(self, site, dim):
        self.site, self.dim, self.names, self.fingerprint = site, dim, None, "doubling"

    def encode(self, x):
        return torch.cat([x, 2 * x], dim=-1)


def same(a: Recording, b: Recording) -> None:
    """Sites, bytes, index, table and labels agree."""
    assert a.sites == b.sites
    assert len(a) == len(b)
    for site in a.sites:
        assert a[site].dtype == b[site].dtype
        assert a[site].axes == b[site].axes
        assert a[site].shape == b[site].shape
        assert torch.equal(a[site].tensor(), b[site].tensor())
    pd.testing.assert_frame_equal(a.index, b.index)
    pd.testing.assert_frame_equal(a.table, b.table)
    assert a.properties == b.properties
    for name in a.properties:
        assert np.array_equal(a.labels(name), b.labels(name))
        assert a.labels(name).dtype == bool


def test_rows_are_what_was_added(both):
    for rec in both:
        row = 0
        for number in range(25):
            values, index, labels = synthetic.sample(number)
            stop = row + len(index["sample"])
            for site, expected in values.items():
                assert torch.equal(rec[site].tensor()[row:stop], expected)
                assert torch.equal(rec[site].matrix()[row:stop], expected.reshape(len(expected), -1))
            assert rec.index["token"].tolist()[row:stop] == index["token"]
            assert rec.index["position"].tolist()[row:stop] == list(range(stop - row))
            assert (rec.labels("noun")[row:stop] == labels["noun"]).all()
            row = stop
        assert row == len(rec)
        assert rec.properties == ["noun", "verb"]
        assert rec.provenance == {"subject": "none", "data": "seeded"}


def test_disk_equals_memory_for_every_method(both):
    a, b = both
    rows = np.random.default_rng(0).integers(0, len(a), 40)
    mask = a.labels("noun")
    changes = [
        lambda r: r,
        lambda r: r[Z],
        lambda r: r.select(rows),
        lambda r: r.select(mask),
        lambda r: r.select(torch.tensor([3, -1])),
        lambda r: r.select([]),
        lambda r: r.samples([7, 3, 20]),
        lambda r: r.permuted(3),
        lambda r: r.shifted(3),
        lambda r: r.resampled(3),
        lambda r: r.resampled(1).permuted(2).select(range(5, 30)).shifted(4),
        lambda r: r.add_labels({"even": np.arange(len(a)) % 2 == 0}),
        lambda r: r[MLP].encode(Doubling(MLP, 6)),
        lambda r: r.encode(Doubling(Z, 8)).select(rows),
    ]
    for change in changes:
        one, two = change(a), change(b)
        same(one, two)
        assert one.fingerprint == two.fingerprint
        for site in one.sites:
            x, y = one[site], two[site]
            for size in (1, 5, 1000):
                for seed in (None, 0, 1):
                    assert all(map(torch.equal, x.batches(size, seed), y.batches(size, seed)))
                    assert [len(t) for t in x.batches(size, seed)] == [len(t) for t in y.batches(size, seed)]
            assert np.array_equal(x.to_numpy(), y.to_numpy())
            if len(x):
                assert torch.equal(x.mean(), y.mean())
                assert torch.equal(x.std(), y.std())
    for site in a.sites:
        for one, two in zip(a[site].padded(), b[site].padded()):
            assert torch.equal(one, two)


def test_save_and_load_keep_everything(both, tmp_path):
    for number, rec in enumerate(both):
        for name, one in {"all": rec, "part": rec.permuted(1).select(range(3, 33))}.items():
            saved = one.save(tmp_path / f"{name}{number}")
            same(one, saved)
            assert saved.fingerprint == one.fingerprint
            for verify in ("lazy", "full", "no"):
                same(one, Recording.load(tmp_path / f"{name}{number}", verify=verify))
    latents = both[1].encode(Doubling(MLP, 6))
    same(latents, latents.save(tmp_path / "latents"))
    with pytest.raises(UsageError, match="already holds"):
        both[0].save(tmp_path / "all0")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_are_stored_as_such(dtype, tmp_path):
    values = torch.linspace(-3, 3, 60, dtype=torch.float64).reshape(20, 3).to(dtype)
    rec = Recording.of(values)
    saved = rec.save(tmp_path / "r")
    for one in (rec, saved):
        assert one.matrix().dtype == dtype
        assert torch.equal(one.matrix(), values)
        assert one.matrix(dtype=torch.float64).dtype == torch.float64
        assert one.mean().dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert np.array_equal(one.to_numpy().astype(np.float64), values.double().numpy())


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 60), st.integers(1, 4), st.integers(1, 20), st.integers(1, 25), st.integers(0, 99))
def test_any_shape_survives_the_disk(tmp_path_factory, rows, units, shard, batch, seed):
    rng = np.random.default_rng(seed)
    values = torch.from_numpy(rng.normal(size=(rows, units)))
    tokens = rng.choice(["a", "", "ü"], rows)
    index = {"sample": np.sort(rng.integers(0, 9, rows)), "position": np.arange(rows), "token": tokens}
    labels = {"p": rng.random(rows) < 0.5}
    whole = Recording.of(values, site="s", index=index, labels=labels)
    folder = tmp_path_factory.mktemp("any") / "r"
    with ShardWriter(folder, Plan.of({"s": (units,)}, rows=rows, dtype=torch.float64, shard_rows=shard)) as writer:
        for lo in range(0, rows, batch):
            part = slice(lo, min(lo + batch, rows))
            writer.add({"s": values[part]}, {k: v[part] for k, v in index.items()}, {"p": labels["p"][part]})
        rec = writer.finish()
    assert torch.equal(rec.matrix(), whole.matrix())
    if rows:
        same(rec, whole)


def test_moments_against_numpy_and_exactly_zero_for_constants():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(1e4, 1e-2, (9000, 2)), np.full((9000, 1), 0.1)], axis=1).astype(np.float32)
    rec = Recording.of(values)
    assert np.allclose(rec.mean().numpy(), values.astype(np.float64).mean(0), rtol=1e-7, atol=0)
    assert np.allclose(rec.std().numpy(), values.astype(np.float64).std(0), rtol=1e-5, atol=0)
    assert rec.std()[2] == 0
    assert rec.mean()[2] == np.float32(0.1)
    with pytest.raises(Degenerate):
        rec.select([]).mean()


def test_padded_lays_rows_out(memory):
    values, mask = memory[Z].padded()
    for (_, line), row in zip(memory.index.iterrows(), memory[Z].tensor()):
        assert torch.equal(values[line["sample"], line["position"]], row)
    assert int(mask.sum()) == len(memory)
    assert not values[~mask].any()
    with pytest.raises(UsageError, match="same sample and position"):
        memory[Z].select([0, 0]).padded()


def test_padded_images():
    grid = {"sample": [0] * 4 + [1] * 4, "y": [0, 0, 1, 1] * 2, "x": [0, 1] * 4}
    rec = Recording.of(np.arange(16.0).reshape(8, 2), index=grid, axes={"x": ("channel",)})
    values, mask = rec.padded()
    assert values.shape == (2, 2, 2, 2)
    assert mask.all()
    assert values.flatten(0, 2).equal(rec.matrix())


def test_one_nan_in_a_million_cells_is_named():
    values = torch.zeros(1000, 1000)
    values[613, 7] = float("nan")
    with pytest.raises(NonFinite, match=r"'mlp' has 1 value .* row 613, unit \(7,\)") as caught:
        Recording.of(values, site="mlp")
    assert (caught.value.site, caught.value.count, caught.value.first) == ("mlp", 1, (613, 7))
    assert len(Recording.of(torch.full((4, 4), 3e38))) == 4  # finite, though the sum is not


def test_errors_teach(memory):
    with pytest.raises(SiteError, match=r"Did you mean 'blocks\.0\.mlp\.out'"):
        memory["blocks.0.mlp.ou"]
    with pytest.raises(UsageError, match="2 sites; choose one"):
        memory.matrix()
    with pytest.raises(UsageError, match="Did you mean 'noun'"):
        memory.labels("nouns")
    with pytest.raises(ShapeError):
        memory.add_labels({"short": [True]})
    with pytest.raises(UsageError, match="outside"):
        memory.select([len(memory)])
    with pytest.raises(ShapeError, match="mask"):
        memory.select([True])
    with pytest.raises(UsageError, match="no rows here"):
        memory.samples([99])
    with pytest.raises(UsageError, match="twice"):
        memory.samples([1, 1])
    with pytest.raises(SubjectMismatch, match="basis belongs"):
        memory[MLP].encode(Doubling(Z, 8))
    with pytest.raises(ShapeError, match="share their rows"):
        Recording.of({"a": torch.zeros(2, 1), "b": torch.zeros(3, 1)})
    with pytest.raises(ShapeError):
        Recording.of(torch.zeros(2, 1), index={"sample": [0]})
    with pytest.raises(ShapeError, match="table"):
        Recording.of(torch.zeros(2, 1), table=pd.DataFrame({"a": [1]}))
    with pytest.raises(UsageError, match="size >= 1"):
        memory[MLP].batches(0)


def test_shows_shapes_first_and_escapes(both):
    for rec in both:
        assert "blocks.1.attn.z [" in repr(rec)
        assert "2 heads, 2 units] float32" in repr(rec)
    hostile = Recording.of(torch.zeros(1, 1), site="<script>alert(1)</script>", labels={"<b>": [True]})
    assert "<script>" not in hostile._repr_html_()
    assert "<b>&lt;b" not in hostile._repr_html_().replace("<p><b>", "")


def test_to_xarray(memory):
    pytest.importorskip("xarray")
    data = memory.to_xarray()
    assert data[Z].shape == (len(memory), 2, 2)
    assert data["token"].to_numpy().tolist() == memory.index["token"].tolist()
    assert np.array_equal(data["label:noun"], memory.labels("noun"))


def test_inputs_are_untouched_and_selections_share_nothing(memory):
    before = memory.fingerprint
    memory[MLP].permuted(0).mean(), memory.resampled(0).index, memory.add_labels({"x": np.zeros(len(memory), bool)})
    assert "x" not in memory.properties
    assert memory._like().fingerprint == before
