"""Wrong paths, unknown sites, unreadable and hostile files, full budgets: the right code, one line, the way out."""

import json

import pytest
from cli_run import cli

CNN = "organism:vision-cnn"


def refused(code, *arguments):
    """The error line of a command that must fail with `code`, and print nothing else."""
    result = cli(*arguments)
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize("command", ["record", "search", "describe", "decompose"])
def test_unknown_site_names_the_nearest(command, tmp_path):
    out = ("--out", tmp_path / "x") if command == "record" else ()
    line = refused(2, command, CNN, "--site", "rellu4", *out)
    assert "no site 'rellu4'" in line
    assert "'relu4'" in line
    assert not (tmp_path / "x").exists()


def test_wrong_paths(tmp_path):
    out = ("--site", "relu4", "--out", tmp_path / "x")
    assert "neither a folder" in refused(2, "record", tmp_path / "nowhere", *out)
    assert "'vision-cnn'" in refused(2, "record", "organism:vision-cn", *out)
    assert "no file" in refused(2, "record", CNN, *out, "--data", tmp_path / "nothing.npz")
    assert "tasks are classify" in refused(2, "trace", "clasify", "--subject", CNN, "--nodes", "relu4")
    assert "no study.json" in refused(2, "study", "verify", tmp_path)
    assert "config.json" in refused(1, "record", tmp_path, *out)


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe garbage", b"PK\x03\x04 not a zip"])
def test_unreadable_images(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    refused(1, "search", CNN, "--site", "relu4", "--data", tmp_path / "a.npz")


def test_pickled_images_are_refused(tmp_path):
    import numpy as np

    np.savez(tmp_path / "a.npz", images=np.array([{"a": 1}], dtype=object), labels=np.zeros(1, int))
    assert cli("search", CNN, "--site", "relu4", "--data", tmp_path / "a.npz").exit_code in (1, 3)


def test_a_checkpoint_that_wants_to_run_code_is_refused_for_safety(tmp_path):
    out = ("--site", "embed", "--out", tmp_path / "x")
    (tmp_path / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "evil.Model"}}))
    assert "own Python code" in refused(3, "record", tmp_path, *out)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    assert "Pickled weights are not read" in refused(3, "record", tmp_path, *out)


def test_over_budget_is_code_4(tmp_path, monkeypatch):
    from microtome.errors import BudgetExceeded
    from microtome.subject.subject import Subject

    def full(*_args, **_options):
        raise BudgetExceeded("the disk has 1 GiB free, the recording needs 2.")

    monkeypatch.setattr(Subject, "record", full)
    assert "1 GiB" in refused(4, "record", CNN, "--site", "relu4", "--out", tmp_path / "x")


@pytest.mark.parametrize("device", ["nowhere", "cuda:77", "meta"])
def test_a_device_that_is_not_here(device):
    assert "doctor" in refused(2, "search", CNN, "--site", "relu4", "--device", device)


def test_usage_errors_are_one_line():
    assert "--out" in refused(2, "record", CNN, "--site", "relu4")
    assert "--nonsense" in refused(2, "study", "--nonsense", "1")
    refused(2, "study", "--twins", "0")
    refused(2, "search", CNN, "--site", "relu4", "--seed", "-1")
    refused(2, "decompose", CNN, "--site", "relu4", "--set", "k")
    assert "weight_shuffle" in refused(2, "study", CNN, "--randomise", "dice")


@pytest.mark.parametrize("command", ["record", "study"])
def test_stopping_says_what_is_kept_and_how_to_go_on(command, tmp_path, monkeypatch):
    import microtome.study
    from microtome.subject.subject import Subject

    def stop(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(Subject, "record", stop)
    monkeypatch.setattr(microtome.study, "study", stop)
    site = ("--site", "relu4") if command == "record" else ("--quiet",)
    result = cli(command, CNN, *site, "--out", tmp_path / "kept")
    assert result.exit_code == 130
    assert result.stderr.startswith("stopped: ")
    assert "kept" in result.stderr
    assert "same command again" in result.stderr
