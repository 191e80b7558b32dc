"""The predicate explainer: planted units found, nothing found in noise, disjoint documents, same seed same bytes."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
from planted_units import WORDS, corpus, planted

from microtome.decompose import pca
from microtome.describe import Description, Descriptions, parse, predicate_explainer, token_texts
from microtome.errors import Degenerate, FormatError, UsageError
from microtome.rng import rng
from microtome.subject.recording import Recording
from microtome.subject.recording.halves import halves


@pytest.fixture(scope="module", params=[0, 1, 2])
def found(request):
    recording, where = planted(request.param)
    return recording, where, predicate_explainer(recording, tokens=WORDS, draws=999, seed=request.param)


def test_planted_units_are_described_exactly(found):
    """The predicate of each planted unit holds on the rows on which the unit was made to fire, and on no other."""
    recording, where, result = found
    for u in (0, 1, 2, 3, 5):
        wrong = result[u].applies(recording, WORDS) != where[u]
        assert result[u].verdict == "described"
        assert wrong.mean() < 0.01, f"unit {u}: {result[u]}"
        assert min(result[u].precision, result[u].recall, result[u].auroc) > 0.9
    assert [result[u].sign for u in (0, 5)] == [1, -1]
    assert result[4].q > 0.01  # noise: at 0.05 one in twenty is described


def test_planted_words_are_said(found):
    _, _, result = found
    assert result[0].text == 'the token is one of " cat", " dog"'
    before = {'the previous token is one of ",", "."', "the previous token is punctuation"}
    assert 'the token is " the"' in result[1].text
    assert any(words in result[1].text for words in before)
    assert result[2].text in ("the token has a digit", 'the token is one of " 12", "7"')
    assert "seen before" in result[3].text
    assert result[5].text == 'the token is "."'
    for d in result:
        assert parse(d.text) == d.predicate


def test_results_survive_json(found):
    _, _, result = found
    again = Descriptions.from_json(result.to_json())
    assert again.to_json() == result.to_json()
    assert again[0].predicate == result[0].predicate
    assert Description.from_json(result[1].to_json()).to_json() == result[1].to_json()
    assert list(again.table["unit"]) == [f"mlp[{u}]" for u in range(6)]
    assert result.verdict == result.finding().verdict == "supported"


def test_scores_against_an_oracle(found):
    """What predicate_explainer reports, recomputed on the judged documents by other means."""
    from scipy.stats import pearsonr
    from sklearn.metrics import precision_score, recall_score, roc_auc_score

    recording, _, result = found
    seed = result.provenance.seed
    judged = np.flatnonzero(~halves(recording, 0.5, seed, fewest=2)[0])
    for u, d in enumerate(result):
        value = d.sign * recording.matrix()[judged, u].double().numpy()
        truth = d.applies(recording, WORDS)[judged]
        assert d.score.value == pytest.approx(pearsonr(truth, value).statistic, abs=1e-5)
        assert d.precision == pytest.approx(precision_score(value > d.threshold, truth))
        assert d.recall == pytest.approx(recall_score(value > d.threshold, truth))
        assert d.auroc == pytest.approx(roc_auc_score(truth, value), abs=1e-6)
        assert d.score.low <= d.score.value <= d.score.high
        assert abs(d.null.p - d.p) < 0.02


def test_searched_and_judged_documents_are_disjoint():
    """By document, not by sample; what is found depends on no value of the judged documents."""
    recording, _ = planted(0)
    table = pd.DataFrame({"document": [f"d{i // 3}" for i in range(60)]})
    recording = Recording.of(recording.matrix(), site="mlp", index=recording.index, table=table)
    chosen, groups = halves(recording, 0.5, 3, fewest=2)
    searched, judged = np.flatnonzero(chosen), np.flatnonzero(~chosen)
    assert len(searched) + len(judged) == len(recording)
    assert not set(groups[searched]) & set(groups[judged])
    assert not set(table["document"][recording.index["sample"][searched]]) & set(
        table["document"][recording.index["sample"][judged]]
    )
    x = recording.matrix().clone()
    x[judged] = torch.tensor(rng(1, "other").normal(size=(len(judged), 6)), dtype=torch.float32)
    other = Recording.of(x, site="mlp", index=recording.index, table=table)
    one = predicate_explainer(recording, tokens=WORDS, draws=99, seed=3)
    two = predicate_explainer(other, tokens=WORDS, draws=99, seed=3)
    assert [(d.text, d.threshold, d.evidence) for d in one] == [(d.text, d.threshold, d.evidence) for d in two]
    assert not {row for d in one for row in d.evidence} & set(judged.tolist())


def test_same_seed_same_bytes():
    recording, _ = planted(4)
    runs = [predicate_explainer(recording, tokens=WORDS, draws=99, seed=s).to_json() for s in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]


def _null_runs(runs: int) -> int:
    """Runs on autocorrelated noise in which any of eight units is described."""
    hits = 0
    for seed in range(runs):
        index, _ = corpus(seed, documents=24, length=20)
        noise = rng(seed, "null").normal(size=(480, 8))
        smooth = noise.copy()
        for t in range(1, 480):  # values remember their predecessor within the document
            if index["position"][t]:  # of equal variance at every position, also the first
                smooth[t] = 0.7 * smooth[t - 1] + np.sqrt(1 - 0.7**2) * noise[t]
        made = Recording.of(torch.tensor(smooth), site="mlp", index=index)
        result = predicate_explainer(made, tokens=WORDS, length=2, draws=399, seed=seed)
        hits += any(d.verdict == "described" for d in result)
    return hits


def test_noise_is_not_described():
    """At level 0.05 more than 3 of 20 runs with a false description have a chance below 2%."""
    assert _null_runs(20) <= 3


@pytest.mark.slow
def test_noise_is_not_described_full():
    """At level 0.05 more than 19 of 200 runs have a chance below 0.5%."""
    assert _null_runs(200) <= 19


def test_units_and_latents():
    """Chosen units keep their numbers; latents of a basis are described like units, by the name of the basis."""
    recording, _ = planted(5)
    some = predicate_explainer(recording, units=[5, 0], tokens=WORDS, draws=99)
    assert [d.unit for d in some] == ["mlp[5]", "mlp[0]"]
    assert some["mlp[0]"].text == 'the token is one of " cat", " dog"'
    latents = recording.encode(pca(recording, components=3))
    assert predicate_explainer(latents, tokens=WORDS, draws=99)[0].unit == "mlp/pca[0]"


def test_documents_places_and_labels_are_words_too():
    draw = rng(0, "images")
    y, x = np.divmod(np.arange(16), 4)
    index = {"sample": np.repeat(np.arange(40), 16), "y": np.tile(y, 40), "x": np.tile(x, 40)}
    table = pd.DataFrame({"document": range(40), "topic": ["sport", "art"] * 20})
    red = draw.random(640) < 0.3
    sport = np.repeat(table["topic"] == "sport", 16).to_numpy()
    x = np.stack([red, sport, index["y"] < 2], axis=1) * 2 + 0.3 * draw.normal(size=(640, 3))
    made = Recording.of(torch.tensor(x), site="conv", index=index, table=table, labels={"red": red})
    texts = [d.text for d in predicate_explainer(made, draws=999)]
    assert texts[0] == 'the row is labelled "red"'
    assert texts[1] in ('the document\'s "topic" is "sport"', 'any row and not the document\'s "topic" is "art"')
    assert texts[2] in ("y is below 2", "any row and not y is from 2")


def test_refusals():
    recording, _ = planted(0, documents=8)
    for options, words in [
        ({"units": [6]}, "0 to 5"), ({"units": []}, "0 to 5"), ({"length": 0}, "length"), ({"draws": True}, "draws"),
        ({"alpha": 1.0}, "alpha"), ({"share": 0}, "share"), ({"tokens": ["a"]}, "texts"), ({"seed": -1}, "seed"),
    ]:  # fmt: skip
        with pytest.raises(UsageError, match=words):
            predicate_explainer(recording, **options)
    both = Recording.of({"a": recording.matrix(), "b": recording.matrix()}, index=recording.index)
    with pytest.raises(UsageError, match="one site"):
        predicate_explainer(both)
    with pytest.raises(Degenerate, match="documents"):
        predicate_explainer(recording.samples([0, 1]))
    result = predicate_explainer(recording, tokens=WORDS, draws=99)
    with pytest.raises(UsageError, match="Did you mean"):
        result["mlp[11]"]


def test_damaged_descriptions_are_refused():
    import json

    recording, _ = planted(0, documents=8)
    good = json.loads(predicate_explainer(recording, units=[0], tokens=WORDS, draws=99)[0].to_json())
    for change in (
        {"text": 'the token is " ran"'}, {"sign": 0}, {"p": "0.1"}, {"verdict": "true"}, {"evidence": [0.5]},
        {"predicate": {"kind": "token"}}, {"score": {}}, {"layout": "x"}, {"more": 1},
    ):  # fmt: skip
        with pytest.raises(FormatError):
            Description.from_json(json.dumps({**good, **change}))


@pytest.mark.assets
def test_real_units_read_sensibly(assets):
    """A small language model: most neurons follow tokens and context on unseen stories."""
    import json

    import microtome as mt

    subject = mt.load(str(assets / "stories260k"))
    lines = (assets / "stories260k_samples.jsonl").read_text(encoding="utf-8").splitlines()[:24]
    recording = subject.record([json.loads(line)["text"] for line in lines], ["blocks.2.mlp.hidden"])
    result = predicate_explainer(recording, units=range(12), tokens=token_texts(subject), draws=999)
    assert sum(d.verdict == "described" for d in result) >= 10
    assert result.estimate.value > 0.2
    control = next(v for k, v in result.controls.items() if "next" in k)
    assert result.estimate.value > control
