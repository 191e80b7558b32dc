"""The logit lens against a slow computation."""

import numpy as np
import pytest
import torch

from microtome.errors import Degenerate, SiteError
from microtome.read import logit_lens
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject
from microtome.testing.planted_network import planted_network


@pytest.fixture(scope="module")
def planted():
    return planted_network(3)


def test_logit_lens_equals_a_slow_computation_by_hand(planted):
    subject, task = planted.subject, planted.task
    table = logit_lens(subject, task, draws=19).table
    module = subject.module
    with torch.no_grad():
        hidden = module(task.clean, output_hidden_states=True).hidden_states
        for block, row in enumerate(table.itertuples()):
            ranks, differences, probabilities, entropies = [], [], [], []
            for i in range(len(task)):
                h = hidden[block + 1][i, -1] if block == 0 else after_last_block(module, task.clean[i])
                h = h if block else hidden[1][i, -1]
                norm = module.transformer.ln_f
                centred = h - h.mean()
                read = centred / (centred.square().mean() + norm.eps).sqrt() * norm.weight + norm.bias
                logits = module.lm_head.weight @ read
                a, w = int(task.answers[i]), int(task.wrong[i])
                p = logits.softmax(0)
                differences.append(float(logits[a] - logits[w]))
                ranks.append(int((logits > logits[a]).sum()))
                probabilities.append(float(p[a]))
                entropies.append(float(-(p * p.log()).sum()))
            assert row.site == f"blocks.{block}.resid_post"
            assert row.logit_difference == pytest.approx(np.mean(differences), abs=1e-4)
            assert row.median_rank == np.median(ranks)
            assert row.probability == pytest.approx(np.mean(probabilities), abs=1e-5)
            assert row.entropy == pytest.approx(np.mean(entropies), abs=1e-4)


def after_last_block(module, ids: torch.Tensor) -> torch.Tensor:
    """The stream before the final norm, caught by a plain hook."""
    kept = []
    handle = module.transformer.ln_f.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    try:
        module(ids[None])
    finally:
        handle.remove()
    return kept[0][0, -1]


def test_the_lens_of_the_last_layer_is_the_same_as_the_logits(planted):
    subject, task = planted.subject, planted.task
    run = subject.run(task.clean, record=["blocks.1.resid_post"])
    torch.testing.assert_close(subject.unembed(run["blocks.1.resid_post"]), run.logits, rtol=1e-5, atol=1e-5)
    found = logit_lens(subject, task, draws=19)
    bound = subject.bind(task)
    plain = bound.metric(bound.metric.read(run.logits)).mean()
    assert found.table["logit_difference"].iloc[-1] == pytest.approx(float(plain), abs=1e-4)
    assert found.estimate.value == pytest.approx(float(plain), abs=1e-4)


def test_it_supports_a_network_that_does_the_task_and_not_its_twins(planted):
    assert logit_lens(planted.subject, planted.task).verdict == "supported"
    supported = [
        logit_lens(planted.subject.twin("reinit", seed=i), planted.task, draws=39).verdict == "supported" for i in range(12)
    ]
    assert sum(supported) <= 3


def test_the_answer_appears_where_the_head_stands(planted):
    found = logit_lens(planted.subject, planted.task)
    ranks = found.table["median_rank"].tolist()
    assert ranks[planted.block] == 0.0
    assert all(rank > 0 for rank in ranks[: planted.block])


def test_refusals(planted):
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    task = Task("plain", x, -x, torch.tensor([0, 1, 0, 1]), torch.tensor([1, 0, 1, 0]), kind="image")
    with pytest.raises(SiteError, match="residual stream"):
        logit_lens(Subject(torch.nn.Linear(3, 2)), task)
    same = planted.task.answers == planted.task.answers[0]
    with pytest.raises(Degenerate, match="same answer"):
        logit_lens(planted.subject, planted.task[same.numpy()])
