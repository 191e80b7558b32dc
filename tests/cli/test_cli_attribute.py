"""`microtome attribute` and `microtome attribute evaluate`: pages, names, worlds with masks, and what is refused."""

import re

import numpy as np
import pytest
from cli_run import cli, document

CNN, IOI = "organism:vision-cnn", "organism:compiled-ioi"
FETCHED = re.compile(r"""(?:src|href)=["'](?!#|data:)""")


def page_of(path) -> str:
    """A page that stands by itself: no script, nothing fetched."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "<script" not in text
    assert not FETCHED.search(text)
    return text


@pytest.fixture(scope="module")
def ioi(tmp_path_factory):
    """One run on text with a page, a null and a saved file."""
    folder = tmp_path_factory.mktemp("pages")
    arguments = ("--method", "occlusion", "--prompts", 6, "--draws", 9, "--twins", 3)
    found = document("attribute", IOI, *arguments, "--report", folder / "why.html", "--out", folder / "a.safetensors")
    return folder, found


def test_a_page_about_texts_shows_tokens_null_and_interval(ioi):
    folder, found = ioi
    page = page_of(folder / "why.html")
    assert found["report"] == str(folder / "why.html")
    for part in ("What the answer rests on", "The map over the input", "95% interval", "random places deleted", "Each example",
                 "Beside networks that learned nothing", "cannot tell anything at p = 0.05"):  # fmt: skip
        assert part in page, part
    assert page.count('class="tokens-row"') == 12  # six maps, and six of the randomised networks
    assert len(found["attribution"]["p"]) == 6
    assert all(0.25 <= p <= 1 for p in found["attribution"]["p"])
    assert len(found["attribution"]["tokens"]) == 6
    from microtome.attribute import Attribution

    assert Attribution.load(folder / "a.safetensors").null.shape[0] == 3


def test_a_page_about_pictures_shows_overlays_residual_and_losses(tmp_path):
    arguments = ("attribute", CNN, "--prompts", 4, "--draws", 9, "--report", tmp_path / "p.html")
    found = document(*arguments, "--method", "LRP-epsilon")
    page = page_of(tmp_path / "p.html")
    assert page.count("data:image/png;base64,") == 8  # each picture and its overlay
    for part in ("Where relevance was lost", "residual %", "Calls without a rule of their own: none", "square, not"):
        assert part in page, part
    about = found["attribution"]
    assert about["options"]["composite"] == "epsilon"
    assert len(about["residual"]) == len(about["output"]) == 4
    assert "conv1:conv2d" in about["lost"]
    text = cli(*arguments, "--method", "LRP-epsilon").stdout
    assert "Most relevance is lost in" in text


def test_usual_names_and_their_options(tmp_path):
    found = document("attribute", CNN, "--prompts", 3, "--draws", 9, "--method", "Grad-CAM++")["attribution"]
    assert (found["method"], found["options"]) == ("CAM (plus_plus)", {"formula": "plus_plus"})
    other = document("attribute", CNN, "--prompts", 3, "--draws", 9, "--method", "Grad-CAM++", "--set", "formula=hires")
    assert other["attribution"]["options"] == {"formula": "hires"}
    listed = document("methods", "saliency")["methods"]
    assert listed[0]["key"] == "gradient"
    assert "saliency" in listed[0]["also_called"]
    assert "hires" in cli("methods", "HiResCAM").stdout


def test_localisation_on_a_world_with_masks(tmp_path):
    arguments = (
        "attribute",
        "evaluate",
        CNN,
        "--world",
        "scenes",
        "--prompts",
        6,
        "--method",
        "saliency",
        "--method",
        "Grad-CAM",
    )
    measures = ("--measure", "relevance_mass", "--measure", "pointing_game")
    found = document(*arguments, *measures, "--report", tmp_path / "e.html")
    assert found["masks"] == "object of scenes"
    scores = {(row["measure"], row["method"]): row["mean"] for row in found["scores"]}
    assert scores["relevance_mass", "saliency"] > scores["relevance_mass", "random map"]
    page = page_of(tmp_path / "e.html")
    for part in ("Which method is right?", "Paired differences", "does the map lie where the evidence is", "object of scenes"):
        assert part in page, part
    corner = document(*arguments[:5], *arguments[5:], "--mask", "backdrop", "--measure", "relevance_mass")
    assert corner["masks"] == "backdrop of scenes"
    mosaic = document("attribute", "evaluate", CNN, "--world", "mosaics", "--prompts", 6, "--method", "Grad-CAM", *measures)
    assert mosaic["masks"] == "signal of mosaics"


def test_a_world_of_ones_own(tmp_path):
    from microtome import io
    from microtome.stimuli.vision.scenes import scenes

    made = scenes(6, 5)
    pixels = (made.inputs.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
    arrays = {"images": pixels, "labels": made.table["label"].to_numpy().astype(np.int64)}
    io.write_npz(tmp_path / "own.npz", {**arrays, "masks": made.masks["object"].numpy()})
    arguments = ("attribute", "evaluate", CNN, "--prompts", 6, "--method", "Grad-CAM", "--measure", "relevance_rank")
    assert document(*arguments, "--world", tmp_path / "own.npz")["masks"].startswith("signal of")
    io.write_npz(tmp_path / "bare.npz", arrays)
    refused = cli(*arguments, "--world", tmp_path / "bare.npz")
    assert (refused.exit_code, "has no mask" in refused.stderr) == (2, True)


def test_localisation_on_roles_of_a_text():
    import microtome as mt

    subject = mt.load(IOI)
    role = next(iter(subject.organism.examples(2).roles))
    arguments = ("attribute", "evaluate", IOI, "--prompts", 6, "--method", "occlusion", "--measure", "relevance_mass")
    found = document(*arguments, "--mask", role, "--measure", "gini", "--measure", "entropy")
    assert found["masks"] == f"role {role}"
    assert {row["measure"] for row in found["differences"]} == {"relevance_mass", "gini", "entropy"}
    assert all(row["low"] <= row["difference"] <= row["high"] and row["p"] <= row["q"] for row in found["differences"])
    refused = cli(*arguments, "--mask", "nobody")
    assert refused.exit_code == 2
    assert role in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("attribute", CNN, "--report", "page.pdf"), ".html"),
        (("attribute", CNN, "--method", "grad-camm"), "grad_cam"),
        (("attribute", CNN, "--set", "stepps=3"), "steps"),
        (("attribute", "evaluate", CNN, "--measure", "relevance_mass"), "--world scenes"),
        (("attribute", "evaluate", CNN, "--world", "scene"), "'scenes'"),
        (("attribute", "evaluate", CNN, "--world", "scenes", "--mask", "objekt"), "'object'"),
        (("attribute", "evaluate", CNN, "--world", "scenes", "--task", "classify"), "leave out --task"),
        (("attribute", "evaluate", "organism:vision-vit", "--world", "mosaics", "--prompts", 3), "64 x 64"),
        (("attribute", "evaluate", IOI, "--world", "scenes", "--prompts", 3), "pictures"),
    ],
)
def test_refusals_say_the_way_out(arguments, said):
    refused = cli(*arguments)
    assert refused.exit_code in (1, 2), refused.stdout
    assert said in refused.stderr
    assert "fault of microtome" not in refused.stderr


def test_help_gives_examples():
    for command in (("attribute",), ("attribute", "evaluate")):
        text = cli(*command, "--help").stdout
        assert "--report" in text
        assert "Examples" in text
