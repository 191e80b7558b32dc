"""`microtome visualise`: pictures in a file, the answer beside them, its null, and what is refused."""

import json

import numpy as np
import pytest
import torch
from cli_run import cli, document, process

import microtome as mt

CNN = "organism:vision-cnn"
QUICK = ("--starts", 3, "--steps", 6, "--images", 12)


def test_a_unit_as_a_picture_and_as_json(tmp_path):
    image = pytest.importorskip("PIL.Image")
    out = tmp_path / "unit.png"
    found = document("visualise", CNN, "--unit", "conv3[5]", *QUICK, "--out", out)
    assert json.loads((tmp_path / "unit.json").read_text()) == {
        k: v for k, v in found.items() if k not in ("schema", "command", "version")
    }
    assert (found["target"], found["null"]["twin"], found["picture"]) == ("conv3[5]", "reinit", str(out))
    assert len(found["score"]) == len(found["percentile"]) == len(found["null"]["score"]) == 3
    assert found["findings"][0]["p"]["pictures made on a twin"] >= 0.25
    assert found["real"]["images"] == 12
    # The same in Python, and the pixels of the file.
    subject = mt.load(CNN)
    shown = subject.organism.examples(512, 0)[:12].inputs
    same = mt.attribute.visualise(subject, "conv3[5]", shown, starts=3, steps=6)
    np.testing.assert_allclose(found["score"], same.score, rtol=1e-5)
    np.testing.assert_allclose(found["null"]["score"], same.null.score, rtol=1e-5)
    pixels = torch.from_numpy(np.asarray(image.open(out)).copy()).float() / 255
    high, wide = same.grid().shape[:2]
    factor = pixels.shape[1] // wide
    assert pixels.shape[1] == factor * wide
    small = pixels[::factor, ::factor]
    torch.testing.assert_close(small[:high], same.grid(), atol=1 / 255, rtol=0)
    torch.testing.assert_close(small[-high:], same.null.grid(), atol=1 / 255, rtol=0)
    assert document("visualise", CNN, "--unit", "conv3[5]", *QUICK)["score"] == found["score"]
    assert document("visualise", CNN, "--unit", "conv3[5]", *QUICK, "--seed", 1)["score"] != found["score"]


def test_a_class_by_number_and_by_name_and_without_a_twin():
    found = document("visualise", CNN, "--class", 1, *QUICK, "--twin", "none", "--picture", "pixels")
    assert (found["null"], found["findings"], found["settings"]["picture"]) == (None, [], "pixels")
    name = mt.load(CNN).organism.truth.classes[1]
    again = document("visualise", CNN, "--class", name, *QUICK, "--twin", "none", "--picture", "pixels")
    assert again["score"] == found["score"]
    assert "no null" in cli("visualise", CNN, "--class", 1, *QUICK, "--twin", "none").stdout


def test_a_coordinate_of_a_saved_basis(tmp_path):
    subject = mt.load(CNN)
    recording = subject.record(subject.organism.examples(16), ["conv3"])
    mt.decompose.pca(recording, components=3).save(tmp_path / "basis")
    found = document("visualise", CNN, "--basis", tmp_path / "basis", "--index", 2, *QUICK)
    assert found["target"] == "conv3/pca[2]"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((CNN,), "name one target"),
        ((CNN, "--class", 0, "--unit", "conv3[1]"), "name one target"),
        ((CNN, "--basis", "somewhere"), "--index"),
        ((CNN, "--class", 0, "--index", 1), "name one target"),
        ((CNN, "--class", 77), "unit 77 does not exist"),
        ((CNN, "--class", "sqare"), "its classes are"),
        ((CNN, "--unit", "conv3"), "SITE[NUMBER]"),
        ((CNN, "--unit", "conv33[1]"), "conv3"),
        ((CNN, "--unit", "conv3[999]"), "unit 999"),
        ((CNN, "--class", 0, "--out", "picture.jpg"), ".png"),
        ((CNN, "--class", 0, "--twin", "reinitt"), "reinit"),
        ((CNN, "--class", 0, "--picture", "wavelets"), "fourier"),
        (("organism:language", "--class", 0), "networks of images only"),
    ],
)
def test_refusals_say_the_way_out(arguments, said):
    refused = cli("visualise", *arguments, "--starts", 1, "--steps", 1, "--images", 4)
    assert refused.exit_code == 2, (refused.stdout, refused.stderr)
    assert said in refused.stderr
    assert "fault of microtome" not in refused.stderr


def test_completion_knows_the_command_its_options_and_their_values():
    def offered(line: str) -> list[str]:
        done = process(_MICROTOME_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(line.count(" ")))
        return done.stdout.split()

    assert offered("microtome visu") == ["visualise"]
    assert "--class" in offered("microtome visualise --cl")
    assert offered("microtome visualise organism:vision-cnn --twin we") == ["weight_shuffle"]
