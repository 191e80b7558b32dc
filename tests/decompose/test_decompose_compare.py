"""The table that compares bases, and what a linear reader gets out of codes."""

import math

import numpy as np
import pytest
import torch

import microtome as mt
from microtome.decompose import Comparison, compare, judge, pca, topk_sae
from microtome.decompose.probing import (
    absorption,
    sparse_probing,
    spurious_correlation_removal,
    targeted_probe_perturbation,
)
from microtome.errors import Degenerate, FormatError, ShapeError, SubjectMismatch, UsageError
from microtome.subject.basis import Identity, Linear
from microtome.subject.recording import Recording


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def labelled():
    """Columns 0 and 1 hold two independent labels, the others noise."""
    on = draw(400, 2, seed=1) > 0
    x = torch.cat([3.0 * on, torch.zeros(400, 4)], 1) + 0.3 * draw(400, 6)
    return Recording.of(x, site="s", labels={"a": on[:, 0].numpy(), "b": on[:, 1].numpy()})


def sae(recording, seed):
    return topk_sae(recording, latents=12, k=2, steps=60, batch=64, lr=0.02, seed=seed)


def test_each_basis_stands_above_its_nulls(labelled):
    twin = Recording.of(draw(400, 6, seed=5), site="s", labels={n: labelled.labels(n) for n in ("a", "b")})
    fitted = pca(labelled, components=2)
    found = compare(labelled, {"sae": sae, "pca": fitted}, labels=["a", "b"], twin=twin)
    table = found.table().set_index(["basis", "kind"])
    assert [k for _, k in table.index] == ["basis", "random directions", "re-drawn network", "basis", "random directions"]
    real, random, twins = (table.loc[("sae", k)] for k in ("basis", "random directions", "re-drawn network"))
    assert real["fvu"] < random["fvu"]
    assert real["probe_5"] > 0.95 > twins["probe_5"] + 0.2
    assert real["probe_1"] > twins["probe_1"]
    assert real["stability"] > random["stability"]
    assert math.isnan(table.loc[("pca", "basis"), "stability"])
    assert real["fvu"] == judge.reconstruction(labelled, sae(labelled, 0))["fvu"]
    assert table.loc[("pca", "random directions"), "dim"] == 2


def test_the_table_goes_through_json(labelled):
    found = compare(labelled, [pca(labelled, components=2)])
    again = Comparison.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert found.records()[0]["basis"] == "pca"
    assert "loss_recovered" not in found.rows.columns
    assert "pca" in repr(found)
    assert "<table" in found._repr_html_()
    with pytest.raises(FormatError, match="columns"):
        Comparison.from_json("{}")


def test_what_a_basis_costs_the_network():
    subject = mt.load("organism:language")
    texts = subject.organism.examples(16)
    site = "blocks.1.resid_post"
    recording = subject.record(texts, [site])
    width = recording.matrix().shape[1]
    found = compare(recording, {"all": Identity(site, width)}, subject=subject, inputs=texts).table()
    assert found["ce_increase"][0] == pytest.approx(0, abs=1e-6)
    assert found["loss_recovered"][0] == pytest.approx(1, abs=1e-6)


def test_refusals(labelled):
    with pytest.raises(UsageError, match="at least one"):
        compare(labelled, {})
    with pytest.raises(UsageError, match="name of its own"):
        compare(labelled, [pca(labelled, components=2)] * 2)
    with pytest.raises(UsageError, match="both"):
        compare(labelled, {"i": Identity("s", 6)}, subject=object())
    with pytest.raises(SubjectMismatch, match="'t'"):
        compare(labelled, {"i": Identity("t", 6)})


# ---- probing ----


def test_one_latent_tells_a_label_that_is_one_coordinate(labelled):
    assert sparse_probing(labelled, Identity("s", 6), "a") > 0.99
    shuffled = np.random.default_rng(0).permutation(labelled.labels("a"))
    assert 0.3 < sparse_probing(labelled, Identity("s", 6), shuffled) < 0.7
    with pytest.raises(ShapeError, match="400 rows"):
        sparse_probing(labelled, Identity("s", 6), [True])
    with pytest.raises(UsageError, match="True or False"):
        sparse_probing(labelled, Identity("s", 6), np.arange(400))
    with pytest.raises(UsageError, match="k must"):
        sparse_probing(labelled, Identity("s", 6), "a", k=7)
    with pytest.raises(Degenerate, match="each half"):
        sparse_probing(labelled, Identity("s", 6), np.zeros(400))


class Absorbing(Linear):
    """Latent 0 follows the label, except where latent 1 (a special case of it) fires: then it is silent."""

    def encode(self, x):
        z = torch.zeros(len(x), 3, dtype=x.dtype)
        special = x[:, 1] > 1.5
        z[:, 0] = torch.where((x[:, 0] > 1.5) & ~special, x[:, 0], 0.0)
        z[:, 1] = torch.where(special, x[:, 0], 0.0)
        return z


def test_absorption_counts_the_rows_where_another_latent_carries_the_label(labelled):
    directions = torch.zeros(3, 6)
    directions[0, 0] = directions[1, 0] = directions[2, 5] = 1.0
    special = labelled.labels("a") & labelled.labels("b")
    expected = special.sum() / labelled.labels("a").sum()
    found = absorption(labelled, Absorbing("s", directions.T, directions), "a")
    assert found == pytest.approx(expected, abs=0.12)
    assert absorption(labelled, Linear("s", torch.eye(6)), "a") == 0


def test_ablating_the_latents_of_a_label_hurts_its_own_probe(labelled):
    named = targeted_probe_perturbation(labelled, Identity("s", 6), ["a", "b"], latents=1)
    assert named > 0.3
    other = Linear("s", torch.eye(6)[:, 3:], torch.eye(6)[3:])
    assert abs(targeted_probe_perturbation(labelled, other, ["a", "b"], latents=1)) < 0.1
    with pytest.raises(UsageError, match="two"):
        targeted_probe_perturbation(labelled, other, ["a"])


def test_ablating_the_spurious_latent_repairs_a_biased_probe():
    on = draw(1600, 2, seed=2) > 0
    x = torch.stack([2.0 * on[:, 0], 6.0 * on[:, 1] - 3.0], 1) + draw(1600, 2)
    recording = Recording.of(x, site="s", labels={"target": on[:, 0].numpy(), "spurious": on[:, 1].numpy()})
    repaired = spurious_correlation_removal(recording, Linear("s", torch.eye(2)), "target", "spurious", latents=1)
    assert repaired > 0.2
    with pytest.raises(Degenerate, match="rarest pair"):
        spurious_correlation_removal(recording, Linear("s", torch.eye(2)), "target", "target")
