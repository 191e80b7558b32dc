"""The dead-salmon test on subjects: rate under the null, power, and the cascade."""

import numpy as np
import pytest
import torch
from torch import nn

import microtome as mt
from microtome.errors import NonFinite, UsageError
from microtome.evidence import Finding
from microtome.salmon_test import cascade, parts_of
from microtome.subject.subject import Subject
from microtome.testing.planted_network import planted_network


def small(seed: int) -> Subject:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Subject(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))


def statistic(subject: Subject) -> float:
    """Some function of the weights that a fresh network has by chance."""
    return float(subject.module[0].weight.detach()[0].sum())


def test_an_untrained_network_is_supported_at_the_rate():
    supported = [mt.salmon(statistic, small(s), kinds=["reinit"], draws=19, seed=s).verdict == "supported" for s in range(40)]
    assert np.mean(supported) <= 0.05 + 2 * (0.05 * 0.95 / 40) ** 0.5


def test_a_planted_network_survives_both_kinds():
    planted = planted_network(0)
    found = mt.salmon(lambda s: mt.read.logit_lens(s, planted.task, draws=1), planted.subject, draws=20)
    assert found.verdict == "supported"
    assert set(found.table["null"]) == {"reinit", "weight_shuffle"}
    assert found.claim.endswith("and in no network that learned nothing")
    assert found.provenance.subject == planted.subject.fingerprint()


def test_p_is_counted_by_hand():
    subject = small(0)
    found = mt.salmon(statistic, subject, draws=9, kinds=["weight_shuffle"], seed=3)
    again = mt.salmon(statistic, subject, draws=9, kinds=["weight_shuffle"], seed=3)
    assert found.to_json() == again.to_json()
    null = found.nulls[0]
    assert len(null.statistics) == 9
    p = (1 + (null.statistics >= statistic(subject)).sum()) / 10
    assert float(found.table["p"][0]) == pytest.approx(p)


def test_twins_given_are_used_one_by_one():
    alive = []

    def twins():
        for i in range(5):
            alive.append(i)
            yield small(100 + i)

    found = mt.salmon(lambda s: {"a": statistic(s), "b": [1.0, 2.0, float(len(alive))]}, small(0), twins={"others": twins()})
    assert alive == list(range(5))
    assert found.table["statistic"].tolist() == ["a", "b"]


def test_the_method_may_return_a_finding_a_number_or_a_mapping():
    subject = small(0)
    for result in (1.0, {"x": 1.0}, Finding("c", estimate=mt.Estimate(1.0, 0.5, 1.5, n=3))):
        assert mt.salmon(lambda s, r=result: r, subject, draws=2, kinds=["reinit"]).table["observed"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("method", "options", "error", "said"),
    [
        (lambda s: "large", {}, UsageError, "got str"),
        (lambda s: True, {}, UsageError, "got bool"),
        (lambda s: Finding("nothing measured"), {}, UsageError, "no estimate"),
        (lambda s: float("nan"), {}, NonFinite, "NaN"),
        (statistic, {"draws": 0}, UsageError, "draws"),
        (statistic, {"kinds": ["reinitt"], "draws": 1}, UsageError, "reinitt"),
        (statistic, {"seed": -1, "draws": 1}, UsageError, "seed"),
    ],
)
def test_refusals(method, options, error, said):
    with pytest.raises(error, match=said):
        mt.salmon(method, small(0), **options)


@pytest.mark.parametrize("kind", ["reinit", "weight_shuffle"])
def test_the_cascade_goes_from_the_head_to_the_embeddings(kind):
    subject = planted_network(1).subject
    before = {k: v.clone() for k, v in subject.module.state_dict().items()}
    parts = parts_of(subject)
    stages = list(cascade(subject, 0, kind=kind))
    assert [s.part for s in stages] == ["head", "blocks.1", "blocks.0", "embed"]
    for i, stage in enumerate(stages):
        after = dict(stage.twin.module.named_parameters())
        for part, names in parts.items():
            same = all(torch.equal(after[n], before[n]) for n in names)
            assert same == (part not in [s.part for s in stages[: i + 1]])
    matrix = "transformer.h.1.mlp.c_fc.weight"
    drawn = [s.twin.module.get_parameter(matrix) for s in stages[1:]]
    assert all(torch.equal(d, drawn[0]) for d in drawn)
    assert all(torch.equal(v, before[k]) for k, v in subject.module.state_dict().items())


def test_a_method_that_reads_what_was_learned_changes_down_the_cascade():
    planted = planted_network(1)
    names = [planted.subject, *(s.twin for s in cascade(planted.subject))]
    found = [mt.attribute.occlusion(s, planted.task, baseline="mean").values for s in names]
    at = [float((v.abs().argmax(1) == planted.position).double().mean()) for v in found]
    assert at[0] == 1.0
    assert at[-1] < 0.6
