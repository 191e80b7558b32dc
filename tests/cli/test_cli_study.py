"""The study from the command line: with a stand-in for the long work, and whole."""

import html
import json

import pytest
from cli_run import ROOT, cli, document, process

from microtome.cli.study import default_folder
from microtome.evidence import Estimate, Finding, Null

CNN = "organism:vision-cnn"


@pytest.fixture
def quick(monkeypatch):
    """A study that takes no time; gives what it was called with."""
    import microtome.study
    from microtome.study.blocks import Section
    from microtome.study.folder import StudyFolder
    from microtome.study.pipeline import Study

    calls = []

    def stand_in(subject, **given):
        calls.append((subject, given))
        folder = StudyFolder(given["out"], {"subject_name": subject.name})
        findings = [Finding("units tell shapes \x1b[31m[red]", Estimate(0.5, 0.4, 0.6), (Null("twins", [0.1] * 19, 0.5),)),
                    Finding("nothing was tested")]  # fmt: skip
        section = Section("units", "Units", "lead", findings)
        given["told"]("units")
        folder.keep(section)
        return Study(folder, [section])

    monkeypatch.setattr(microtome.study, "study", stand_in)
    return calls


def test_a_table_of_findings_and_the_path_of_the_report(quick, tmp_path):
    result = cli("study", CNN, "--out", tmp_path / "s", "--twins", 3, "--seed", 5)
    assert result.exit_code == 0
    (subject, given), = quick
    assert (subject.name, given["twins"], given["seed"], given["data"], given["task"]) == (CNN, 3, 5, None, None)
    for text in ("units tell shapes [U+001B][31m[red]", "supported", "0.5 [0.4, 0.6]", "0.05", "undetermined"):
        assert text in result.stdout
    assert str(tmp_path / "s" / "report.html") in result.stdout.replace("\n", "")
    assert "units" in result.stderr
    assert cli("study", CNN, "--out", tmp_path / "q", "--quiet").stderr == ""


def test_json_holds_all_findings(quick, tmp_path):
    found = document("study", CNN, "--out", tmp_path / "s")
    assert (found["command"], found["subject"], found["folder"]) == ("study", CNN, str(tmp_path / "s"))
    assert [f["verdict"] for f in found["findings"]] == ["supported", "undetermined"]
    assert found["findings"][0]["p"] == {"twins": 0.05}


def test_a_randomised_twin_is_studied_instead(quick, tmp_path):
    cli("study", CNN, "--out", tmp_path / "s", "--randomise", "weight_shuffle", "--twins", 4)
    from microtome.loading import load

    subject = quick[0][0]
    assert "weight_shuffle" in subject.name
    assert subject.fingerprint() != load(CNN).fingerprint()
    assert all(load(CNN).twin("weight_shuffle", seed=i + 1).fingerprint() != subject.fingerprint() for i in range(4))


def test_one_folder_per_subject():
    folders = {default_folder(s, r) for s in ("organism:language", "organism:vision-cnn", "a/gpt2") for r in (None, "reinit")}
    assert len(folders) == 6
    assert str(default_folder("organism:language", None)) == "microtome-study"
    assert default_folder("../../etc/", None).name == "microtome-study-etc"


def test_verify_names_a_changed_file(quick, tmp_path):
    folder = tmp_path / "s"
    cli("study", CNN, "--out", folder)
    assert document("study", "verify", folder)["damage"] == []
    file = folder / "sections" / "units.json"
    data = bytearray(file.read_bytes())
    data[20] ^= 1
    file.write_bytes(bytes(data))
    result = cli("study", "verify", folder, "--json")
    assert result.exit_code == 1
    assert [(d["file"], d["kind"]) for d in json.loads(result.stdout)["damage"]] == [("sections/units.json", "hash")]
    (folder / "manifest.jsonl").write_bytes(b"{}\n")
    assert cli("study", "verify", folder).exit_code == 1


@pytest.mark.slow
def test_a_whole_study_of_the_vision_organism(tmp_path):
    first = process("study", CNN, "--twins", "1", "--out", str(tmp_path / "s"), "--json")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert len(found["findings"]) >= 5
    page = html.unescape((tmp_path / "s" / "report.html").read_text(encoding="utf8"))
    assert all(f["claim"] in page for f in found["findings"])
    assert process("study", "verify", str(tmp_path / "s")).returncode == 0
    again = process("study", CNN, "--twins", "1", "--out", str(tmp_path / "s"), "--json")
    assert json.loads(again.stdout)["findings"] == found["findings"]
    other = process("study", CNN, "--twins", "2", "--out", str(tmp_path / "s"))
    assert other.returncode == 1
    assert "another study" in other.stderr


def test_record_and_trace_of_a_model_that_nobody_here_trained(assets, tmp_path):
    texts = tmp_path / "texts.jsonl"
    lines = (assets / "stories260k_samples.jsonl").read_text(encoding="utf8").splitlines()[:4]
    texts.write_text("\n".join(lines), encoding="utf8")
    story = assets / "stories260k"
    found = document("record", story, "--site", "blocks.1.resid_post", "--data", texts, "--out", tmp_path / "r")
    assert found["samples"] == 4
    wrong = cli("record", story, "--site", "blocks.9.resid_post", "--data", texts, "--out", tmp_path / "q")
    assert wrong.exit_code == 2
    assert "blocks.1.resid_post" in wrong.stderr or "0..4" in wrong.stderr
    assert (ROOT / "src").is_dir()
