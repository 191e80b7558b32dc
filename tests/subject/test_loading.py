"""Loading: folders, what is refused before anything is read, and silence."""

import json
import os
import shutil
import socket
import subprocess
import sys

import pytest
import torch
from tokenizers_small import letters

import microtome as mt
from microtome.errors import FormatError, TokenizerError, UnsafeContent, UsageError


@pytest.fixture
def folder(assets, tmp_path):
    """A copy of a small language model that may be damaged."""
    source = assets / "stories260k"
    if not source.is_dir():
        pytest.skip("stories260k is not among the assets")
    return shutil.copytree(source, tmp_path / "model")


def change(folder, name="config.json", **facts):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def test_a_folder_is_loaded_without_network_or_noise(folder, monkeypatch, capfd):
    from huggingface_hub import utils as hub
    from transformers.utils import logging

    def refuse(*_):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    before = logging.is_progress_bar_enabled(), logging.get_verbosity(), hub.are_progress_bars_disabled()
    subject = mt.load(folder)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert before == (logging.is_progress_bar_enabled(), logging.get_verbosity(), hub.are_progress_bars_disabled())
    assert subject.name == "model"
    assert subject.facts.blocks == 5
    assert subject.dtype == torch.float32
    assert not subject.module.training
    assert subject.run(["Once upon a time"]).logits.shape[-1] == 512
    assert mt.load(str(folder), dtype="float64").dtype == torch.float64
    assert mt.load(folder).fingerprint() == subject.fingerprint()


def test_users_who_silenced_transformers_stay_silent(folder):
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        mt.load(folder)
        assert not logging.is_progress_bar_enabled()
    finally:
        logging.enable_progress_bar()


def test_a_whole_process_is_silent(folder):
    code = f"import microtome as mt; mt.load({str(folder)!r})"
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=offline)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


def damage(folder, what):
    weights = folder / "model.safetensors"
    if what == "no config":
        (folder / "config.json").unlink()
    elif what == "broken config":
        (folder / "config.json").write_text('{"a": 1')
    elif what == "a list":
        (folder / "config.json").write_text("[]")
    elif what == "unknown type":
        change(folder, model_type="nonsense")
    elif what == "pickled":
        weights.rename(folder / "pytorch_model.bin")
    elif what == "code":
        change(folder, auto_map={"AutoModel": "evil.Model"})
        (folder / "evil.py").write_text("raise SystemExit('ran')")
    elif what == "adapter":
        (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/else"}')
    elif what in ("traversal", "index of lists"):
        shard = {"a": f"../{weights.name}"} if what == "traversal" else ["a"]
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shard}))
    elif what == "truncated":
        weights.write_bytes(weights.read_bytes()[:5000])
    elif what == "other shapes":
        change(folder, intermediate_size=20)
    elif what == "missing tensors":
        change(folder, num_hidden_layers=7)
    elif what == "broken tokenizer":
        (folder / "tokenizer.json").write_text('{"a": 1}')


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("no config", FormatError, "no config.json"), ("broken config", FormatError, "not valid JSON"),
        ("a list", FormatError, "JSON object"), ("unknown type", FormatError, "nonsense"),
        ("pickled", UnsafeContent, "Pickled weights are not read"), ("code", UnsafeContent, "trust_remote_code"),
        ("adapter", UnsafeContent, "is an adapter"), ("traversal", UnsafeContent, r"\.\."),
        ("index of lists", FormatError, "weight_map"), ("truncated", FormatError, "cannot read the weights"),
        ("other shapes", FormatError, "shapes that config.json"), ("missing tensors", FormatError, "lacks 18 tensors"),
        ("broken tokenizer", TokenizerError, "cannot load the tokenizer"),
    ],
)  # fmt: skip
def test_damaged_and_hostile_folders_are_refused(folder, what, error, words):
    damage(folder, what)
    with pytest.raises(error, match=words):
        mt.load(folder)


@pytest.mark.parametrize("architecture", ["AutoTokenizer", "pipeline", "PreTrainedTokenizerFast", "nonsense"])
def test_an_architecture_that_is_no_model_is_not_called(folder, architecture):
    change(folder, architectures=[architecture])
    assert mt.load(folder).facts.blocks == 5


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(folder):
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    config.vocab_size = 100
    with torch.random.fork_rng(devices=[]):
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
    letters().save_pretrained(folder)
    with pytest.raises(TokenizerError, match="260 tokens, the model has 100"):
        mt.load(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("organism:languag", "Did you mean 'language'"), ("organism:", "no organism"), ("/nowhere/at/all", "neither a folder"),
        ("./here", "neither a folder"), ("gpt2", "organism:NAME"), ("a/b/c", "owner/name"), ("", "neither a folder"),
    ],
)  # fmt: skip
def test_names_that_mean_nothing_are_refused(name, words):
    with pytest.raises(UsageError, match=words):
        mt.load(name)


def test_a_hub_id_offline_is_a_clear_error(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match=r"cannot be reached.*give a folder"):
        mt.load("nobody-at-all/no-such-model")


def test_devices_that_are_not_there_are_refused(folder):
    with pytest.raises(UsageError, match="cannot be used here"):
        mt.load(folder, device="cuda:63")
