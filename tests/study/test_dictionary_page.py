"""The page of a dictionary: every part is there, its numbers are those of the basis, and it stands alone."""

import html
import re

import numpy as np
import pytest
import torch

import microtome as mt
from microtome.decompose import pca, topk_sae
from microtome.errors import ShapeError, UsageError
from microtome.organisms.small import decoder
from microtome.study.blocks import Columns, Points, Section, Units
from microtome.study.dictionary import dictionary_page, dictionary_sections
from microtome.study.dictionary.cards import effects
from microtome.study.report import render
from microtome.study.report.charts.columns import columns, small
from microtome.study.report.charts.points import points
from microtome.subject.recording import Recording


@pytest.fixture(scope="module")
def words():
    """Rows with tokens: unit 0 is "a", unit 1 is "b", the rest noise."""
    g = np.random.default_rng(0)
    token = g.integers(0, 3, 600)
    x = 0.1 * g.normal(size=(600, 6))
    x[np.arange(600), token] += 2
    index = {"sample": np.arange(600) // 6, "token": [["a", "<b>", "c"][t] for t in token]}
    return Recording.of(torch.from_numpy(x).float(), site="h", index=index)


@pytest.fixture(scope="module")
def sae(words):
    return topk_sae(words, latents=16, k=1, steps=150, batch=64, lr=1e-2)


def test_sections_show_training_use_map_and_units(words, sae):
    sections = {s.key: s for s in dictionary_sections(sae, words, units=3, batch=64, layout="pca")}
    assert list(sections) == ["use", "training", "map", "units"]
    finding = sections["use"].findings[0]
    assert finding.verdict == "supported"
    assert finding.estimate.value == pytest.approx(1 - sae.metrics["fvu"], abs=0.02)
    curves = {line.title: line for line in sections["training"].blocks}
    fvu = curves["Variance left unexplained (FVU)"]
    assert fvu.series["fvu"] == pytest.approx(sae.history["fvu"])
    assert fvu.x[-1] == f"{sae.history['step'][-1] * 64:,}"
    assert len(sections["map"].blocks[0].x) == 16
    cards = sections["units"].blocks[0].cards
    assert len(cards) == 3
    assert any('the token is "a"' in card["text"].lower() for card in cards)
    for card in cards:
        latent = int(card["name"].split()[-1])
        active = (sae.encode(words.matrix())[:, latent] != 0).sum()
        assert sum(card["density"]["counts"]) == int(active)
        assert len(card["neighbours"]) == 4
    assert [Section.from_dict(s.to_dict()) for s in sections.values()] == list(sections.values())


def test_the_page_stands_alone_and_escapes_tokens(words, sae):
    page = dictionary_page(sae, words, units=[0, 1, 2, 3], layout="pca", title="<i>Mine</i>")
    assert "<script" not in page
    assert "<b>c" not in page.split("</style>")[1].replace("<b>0", "")
    assert "&lt;i&gt;Mine" in page
    assert not re.search(r"(?:src|href)=\"(?!#|data:)", page)
    assert "default-src 'none'" in page
    assert page == dictionary_page(sae, words, units=[0, 1, 2, 3], layout="pca", title="<i>Mine</i>")


def test_effects_on_the_logits_agree_with_the_head():
    subject = mt.Subject(decoder(11, layers=1, width=8, heads=2, context=6))
    inputs = torch.randint(11, (30, 6), generator=torch.Generator().manual_seed(0))
    recording = subject.record(inputs, ["blocks.0.resid_post"])
    basis = pca(recording, components=4)
    found = effects(basis, subject, [0, 2])
    both = subject.unembed(basis.directions[[0, 2]]), subject.unembed(-basis.directions[[0, 2]])
    want = (both[0] - both[1]) / 2
    torch.testing.assert_close(found, want - want.mean(1, keepdim=True))
    assert effects(pca(subject.record(inputs, ["blocks.0.mlp.hidden"]), components=4), subject, [0]) is None


def test_spectra_and_single_coordinates(words):
    sections = {s.key: s for s in dictionary_sections(pca(words, components=2), words, units=2)}
    assert "map" not in sections
    assert sections["training"].title == "Spectrum"
    with pytest.raises(UsageError, match=r"0\.\.1"):
        dictionary_sections(pca(words, components=2), words, units=[5])
    with pytest.raises(UsageError, match="one site"):
        dictionary_sections(pca(words, components=2), Recording.of({"a": words.matrix(), "b": words.matrix()}))


def test_histograms_and_maps_draw_every_number():
    drawn = columns(Columns("T", [0.0, 1.0, 2.0, 3.0], [2, 0, 5], "x"))
    assert drawn.svg.count("<rect") == 2
    assert "2 to 3: 5" in html.unescape(drawn.svg)
    where = points(Points("T", [0, 1, float("nan")], [0, 1, 2], ["p", "q", "r"], ["g", "h", "g"]))
    assert where.svg.count("<path") == 2
    assert where.legend == [("g", "s0", 2), ("h", "s1", 1)]
    assert small({"edges": [0.0, 1.0], "counts": [0]}, "u") is None
    assert small({"edges": [0.0, 1.0], "counts": [4]}, "u").count("<rect") == 1
    with pytest.raises(ShapeError, match="3 finite edges"):
        columns(Columns("T", [0.0, 1.0], [1, 2]))
    with pytest.raises(ShapeError, match="one per point"):
        points(Points("T", [0.0], [0.0], [], ["g"]))
    card = {"name": "n", "density": {"edges": [0.0], "counts": [1]}}
    with pytest.raises(ShapeError, match="finite edges"):
        render("T", "S", [Section("k", "P", "L", [], [Units("U", [card])])], {})
