"""``decompose compare`` and ``decompose convert``: answers, exit codes, refusals; nothing is written when they refuse."""

import numpy as np
import pytest
from cli_run import cli, document

import microtome as mt
from microtome import io
from microtome.decompose.formats.convert import LAYOUTS, guess, load_any, save_as
from microtome.errors import FormatError, UsageError
from microtome.stimuli.vision.scenes import scenes
from microtome.subject.basis import Identity
from microtome.subject.basis_files import load_basis

CNN = "organism:vision-cnn"


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A handful of images, so that no command makes the whole set."""
    made = scenes(64, 3)
    path = tmp_path_factory.mktemp("few") / "few.npz"
    pixels = (made.inputs.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
    io.write_npz(path, {"images": pixels, "labels": made.table["label"].to_numpy().astype(np.int64)})
    return path


@pytest.fixture(scope="module")
def fitted(few, tmp_path_factory):
    """A small dictionary of relu4, saved."""
    out = tmp_path_factory.mktemp("bases") / "sae"
    arguments = ("--latents", 16, "--set", "k=2", "--set", "steps=30", "--set", "batch=32", "--set", "lr=0.01")
    document("decompose", CNN, "--site", "relu4", "--data", few, *arguments, "--out", out)
    return out


def refused(code, *arguments):
    """The error line of a command that must fail."""
    result = cli(*arguments)
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    return result.stderr


def test_compare_tells_bases_and_their_nulls(few, fitted):
    arguments = ("--method", "pca", "--basis", fitted, "--latents", 4, "--twin", "--data", few)
    found = document("decompose", "compare", CNN, "--site", "relu4", *arguments)
    assert found["command"] == "decompose compare"
    rows = {(row["basis"], row["kind"]): row for row in found["table"]}
    assert set(rows) == {("pca", "basis"), ("pca", "random directions"), ("pca", "re-drawn network"),
                         (str(fitted), "basis"), (str(fitted), "random directions")}  # fmt: skip
    assert rows["pca", "basis"]["fvu"] < rows["pca", "random directions"]["fvu"]
    assert rows["pca", "basis"]["stability"] == pytest.approx(1)
    assert rows[str(fitted), "basis"]["stability"] is None
    shown = cli("decompose", "compare", CNN, "--site", "relu4", "--method", "pca", "--latents", 2, "--data", few)
    assert shown.exit_code == 0
    assert "random directions" in shown.stdout


def test_decompose_writes_a_report(few, tmp_path):
    arguments = ("--method", "nmf", "--latents", 6, "--data", few, "--report", tmp_path / "new" / "page.html")
    found = document("decompose", CNN, "--site", "relu4", *arguments)
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert found["report"].endswith("page.html")
    assert "What each unit shows" in page
    assert page.count("data:image/png") > 6
    assert "<script" not in page


def test_compare_refuses(few):
    start = ("decompose", "compare", CNN, "--site", "relu4", "--data", few)
    assert "'topk_sae'" in refused(2, *start, "--method", "topk")
    assert "takes an option 'kk'" in refused(2, *start, "--method", "pca", "--set", "kk=3")
    assert "not a recording alone" in refused(2, *start, "--method", "interaction_basis")
    assert "no layout" in refused(1, *start, "--basis", few.parent)
    assert "no labels" in refused(2, *start, "--method", "pca", "--latents", 2, "--label", "zebra")


@pytest.mark.parametrize("layout", ["saelens", "sparsify", "dictionary_learning"])
def test_a_dictionary_goes_out_and_comes_back(fitted, few, layout, tmp_path):
    there, back = tmp_path / "there", tmp_path / "back"
    out = document("decompose", "convert", fitted, there, "--to", layout)
    assert out["dictionary"]["from"] == "microtome"
    assert not out["dictionary"]["checked"]
    assert guess(there) == layout
    again = document("decompose", "convert", there, back, "--site", "relu4")["dictionary"]
    assert (again["from"], again["to"], again["dim"]) == (layout, "microtome", 16)
    x = mt.load(CNN).record(mt.load(CNN).organism.examples(4), ["relu4"], positions="mean").matrix()
    assert (load_basis(back).encode(x) - load_basis(fitted).encode(x)).abs().max() < 1e-5


def test_convert_checks_a_dictionary_on_the_network(fitted, few, tmp_path):
    found = document("decompose", "convert", fitted, tmp_path / "a", "--subject", CNN, "--data", few)["dictionary"]
    assert found["checked"]
    assert found["metrics"]["fvu"] < 1
    line = refused(2, "decompose", "convert", fitted, tmp_path / "b", "--site", "relu3")
    assert "leave site out" in line
    assert not (tmp_path / "b").exists()


def test_convert_refuses(fitted, few, tmp_path):
    assert "no layout 'saelense'" in refused(2, "decompose", "convert", fitted, tmp_path / "a", "--to", "saelense")
    assert "is there already" in refused(2, "decompose", "convert", fitted, fitted)
    assert "no layout that is known" in refused(1, "decompose", "convert", tmp_path, tmp_path / "a")
    assert "site" in refused(2, "decompose", "convert", few, tmp_path / "a")
    assert "holds no" in refused(2, "decompose", "convert", fitted, tmp_path / "a", "--to", "circuit_tracer")
    assert not (tmp_path / "a").exists()


def test_layouts_by_name():
    with pytest.raises(UsageError, match="'sparsify'"):
        load_any("x", read="sparsfy")
    with pytest.raises(FormatError, match=r"ae\.pt"):
        guess("nowhere")
    for layout in LAYOUTS:
        if layout != "microtome":
            with pytest.raises(UsageError, match="microtome"):
                save_as(Identity("s", 3), "x", layout)
