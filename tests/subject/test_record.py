"""Recording through a subject: rows, labels, masks, memory against disk, and numbers that are not finite."""

import numpy as np
import pandas as pd
import pytest
import torch
from subject_slow import LENGTHS, convolutional, language, noise
from tiny import BY_NAME
from tokenizers_small import letters, words
from torch import nn

from microtome.errors import Degenerate, NonFinite, SiteError, UsageError
from microtome.stimuli.stimuli import Stimuli
from microtome.subject.recording import Recording
from microtome.subject.subject import Subject

SITES = ["blocks.0.resid_post", "blocks.1.attn.z"]
TEXTS = ["the cat sat on the mat", "a red ball", "it was the old cat and it ran then", "dogs", "the big red ball is old"]


def speaker(tokenizer=None):
    """A tiny GPT-2 with rows for every token of the small tokenizers."""
    import transformers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.GPT2Config(vocab_size=300, n_embd=16, n_layer=2, n_head=2, n_positions=64)
        return Subject(transformers.GPT2LMHeadModel(config), tokenizer or words("[BOS] $A"))


def told():
    """Texts with the truth about their characters: where 'red', 'cat' and 'the' are."""
    spans = [(i, m, m + len(w), w) for i, t in enumerate(TEXTS) for w in ("red", "cat", "the")
             for m in range(len(t)) if t.startswith(w, m)]  # fmt: skip
    spans = pd.DataFrame(spans, columns=["sample", "start", "end", "property"])
    return Stimuli(TEXTS, table=pd.DataFrame({"document": [0, 0, 1, 1, 2]}), spans=spans)


@pytest.mark.parametrize("positions", ["all", "last", "mean"])
@pytest.mark.parametrize("pad", [None, "right", "left"])
def test_rows_are_real_tokens(pad, positions):
    subject, inputs = language("llama", pad)
    recording = subject.record(inputs, SITES, positions=positions, batch=2)
    run = subject.run(inputs, record=SITES)
    lengths = LENGTHS if pad else (7, 7, 7)
    starts = [7 - k if pad == "left" else 0 for k in lengths]
    for site in SITES:
        each = [run[site][i, a : a + k] for i, (a, k) in enumerate(zip(starts, lengths))]
        rows = {"all": each, "last": [v[-1:] for v in each], "mean": [v.mean(0, keepdim=True) for v in each]}[positions]
        torch.testing.assert_close(recording[site].tensor(), torch.cat(rows), atol=1e-6, rtol=1e-5)
    if positions != "mean":
        places = [(i, p) for i, k in enumerate(lengths) for p in (range(k) if positions == "all" else [k - 1])]
        assert list(zip(recording.index["sample"], recording.index["position"])) == places
        ids = [int(inputs["input_ids"][i, starts[i] + p]) for i, p in places]
        assert recording.index["token"].tolist() == ids


@pytest.mark.parametrize("make", [words, letters])
@pytest.mark.parametrize("template", ["", "[BOS] $A", "$A [EOS]", "[BOS] $A [EOS]"])
def test_labels_follow_the_characters(make, template):
    tokenizer = make(template)
    subject, data = speaker(tokenizer), told()
    recording = subject.record(data, [SITES[0]], batch=2)
    assert recording.properties == ["cat", "red", "the"]
    row = 0
    for text in TEXTS:
        pieces, at = [], 0
        for token in tokenizer(text)["input_ids"]:
            if tokenizer.convert_ids_to_tokens(token) in ("[BOS]", "[EOS]"):
                pieces.append(None)
                continue
            piece = tokenizer.decode([token]).strip()
            at = text.index(piece, at) if piece else at
            pieces.append((at, at + max(1, len(piece))))
            at = pieces[-1][1]
        for piece in pieces:
            for name in recording.properties:
                inside = piece is not None and any(
                    text.startswith(name, m) and piece[0] < m + len(name) and piece[1] > m for m in range(len(text))
                )
                assert recording.labels(name)[row] == inside, (text, piece, name)
            row += 1
    assert row == len(recording)
    by_sample = subject.record(data, [SITES[0]], positions="mean")
    for name in by_sample.properties:
        assert by_sample.labels(name).tolist() == [name in t for t in TEXTS]
    ends = subject.record(data, [SITES[0]], positions="last")
    assert ends.labels("cat").any() == 0
    assert len(ends) == len(TEXTS)


def test_images_carry_their_masks():
    subject, images = convolutional()
    mask = noise(3, 6, 6, seed=4) > 0
    data = Stimuli(images, masks={"thing": mask}, kind="image")
    recording = subject.record(data, ["1"])
    values = subject.run(images, record=["1"])["1"]
    assert torch.equal(recording.tensor(), values.permute(0, 2, 3, 1).reshape(-1, 6))
    assert recording.labels("thing").tolist() == mask.flatten().tolist()
    places = [[i, y, x] for i in range(3) for y in range(6) for x in range(6)]
    assert recording.index[["sample", "y", "x"]].to_numpy().tolist() == places
    smaller = subject.record(data, ["3"])
    pooled = nn.functional.adaptive_avg_pool2d(mask[:, None].float(), (4, 4)) >= 0.5
    assert smaller.labels("thing").tolist() == pooled.flatten().tolist()
    whole = subject.record(data, ["6"])
    assert whole.labels("thing").tolist() == mask.flatten(1).any(1).tolist()
    mean = subject.record(data, ["3", "6"], positions="mean")
    torch.testing.assert_close(mean["3"].tensor(), subject.run(images, record=["3"])["3"].mean((2, 3)))
    with pytest.raises(SiteError, match="do not share rows"):
        subject.record(data, ["1", "3"])
    with pytest.raises(SiteError, match="position axis"):
        subject.record(data, ["1"], positions="last")


def cases():
    plain, images = convolutional()
    scalar = Subject(nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)))
    half = Subject(nn.Sequential(nn.Linear(3, 4)).bfloat16())
    return {
        "texts": (speaker(), TEXTS, SITES, {}),
        "truth": (speaker(), told(), SITES, {"batch": 2}),
        "last": (speaker(), told(), SITES, {"positions": "last"}),
        "mean": (speaker(), told(), SITES, {"positions": "mean"}),
        "left": (*language("llama", "left"), SITES, {}),
        "stored small": (speaker(), TEXTS, SITES, {"dtype": torch.bfloat16}),
        "stored wide": (speaker(), TEXTS, SITES, {"dtype": torch.float64}),
        "images": (plain, images, ["0", "1"], {"batch": 2}),
        "masks": (plain, Stimuli(images, masks={"m": noise(3, 6, 6) > 0}, kind="image"), ["3"], {}),
        "one number": (scalar, noise(50, 3), ["1"], {"batch": 7}),
        "bfloat16": (half, noise(50, 3).bfloat16(), ["0"], {}),
        "vit": (Subject(BY_NAME["vit"].build()), noise(5, 3, 8, 8), ["blocks.0.resid_post"], {"batch": 2}),
    }


@pytest.mark.parametrize("name", cases())
def test_memory_and_disk_are_the_same_bits(name, tmp_path, monkeypatch):
    from microtome.subject.recording import plan

    subject, data, sites, options = cases()[name]
    held = subject.record(data, sites, **options)
    for folder, shard in (("one", plan.SHARD_BYTES), ("many", 200)):
        monkeypatch.setattr(plan, "SHARD_BYTES", shard)
        stored = subject.record(data, sites, to=tmp_path / folder, **options)
        assert held.fingerprint == stored.fingerprint == Recording.load(tmp_path / folder, verify="full").fingerprint
        for site in held.sites:
            assert torch.equal(held[site].tensor(), stored[site].tensor())
            assert held[site].axes == stored[site].axes
        pd.testing.assert_frame_equal(held.index, stored.index)
        pd.testing.assert_frame_equal(held.table, stored.table)
        assert held.properties == stored.properties
        assert held.provenance == stored.provenance
    assert held.fingerprint == subject.record(data, sites, **options).fingerprint


def test_batches_make_no_difference_beyond_rounding():
    subject, inputs = language("llama", "right", lengths=(7, 4, 5, 6, 7, 3, 5))
    whole = subject.record(inputs, SITES, batch=100)
    for batch in (1, 2, 3):
        part = subject.record(inputs, SITES, batch=batch)
        assert part.index.equals(whole.index)
        for site in SITES:
            torch.testing.assert_close(part[site].tensor(), whole[site].tensor(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("disk", [False, True])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_named(tmp_path, disk, bad):
    subject, inputs = language("llama")
    with torch.no_grad():
        subject.module.model.layers[1].mlp.down_proj.weight[3, 5] = bad
    with pytest.raises(NonFinite, match=r"blocks\.1\.resid_post.*NaN or infinite"):
        subject.record(inputs, ["blocks.0.resid_post", "blocks.1.resid_post"], to=tmp_path / "r" if disk else None)
    subject.record(inputs, ["blocks.0.resid_post"])


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        ([], {}, Degenerate, "empty"),
        (TEXTS, {"positions": "first"}, UsageError, "positions must be one of"),
        (TEXTS, {"batch": 0}, UsageError, "batch"),
        (TEXTS, {"batch": -3}, UsageError, "batch"),
        (TEXTS, {"dtype": torch.int8}, UsageError, "stored as"),
        (3, {}, UsageError, "expected Inputs"),
    ],
)
def test_what_cannot_be_recorded_is_refused(data, options, error, words):
    with pytest.raises(error, match=words):
        speaker().record(data, [SITES[0]], **options)


def test_sites_that_have_no_rows_are_refused():
    with pytest.raises(SiteError, match="patterns are not recorded"):
        speaker().record(TEXTS, ["blocks.0.attn.pattern"])
    with pytest.raises(UsageError, match="at least one site"):
        speaker().record(TEXTS, [])
    assert np.isfinite(speaker().record("the cat", SITES[0]).matrix().numpy()).all()
