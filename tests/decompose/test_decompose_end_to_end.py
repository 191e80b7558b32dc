"""The end-to-end autoencoder: its loss by hand, what training does, what it leaves behind."""

import pytest
import torch

import microtome as mt
from microtome.decompose import Recovered, end_to_end_sae, random_dictionary
from microtome.decompose.end_to_end_sae import EndToEnd, Rest
from microtome.decompose.formula import Progress
from microtome.errors import UsageError
from microtome.organisms.small import decoder
from microtome.subject.inputs import Inputs, as_inputs

SITE = "blocks.0.resid_post"


@pytest.fixture(scope="module")
def subject():
    return mt.Subject(decoder(11, layers=2, heads=2, width=16, context=8))


@pytest.fixture(scope="module")
def ids():
    return torch.randint(1, 11, (24, 8), generator=torch.Generator().manual_seed(0))


def test_the_loss_equals_the_equation(subject, ids):
    """The loss of end_to_end_sae: divergence by a patched run, gradient by finite differences."""
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    inputs, g = Inputs({"input_ids": ids[:3], "attention_mask": mask[:3]}), torch.Generator().manual_seed(1)
    draw = lambda *s: torch.randn(*s, generator=g)  # noqa: E731
    p = {"encoder": draw(20, 16), "b_enc": draw(20), "decoder": draw(20, 16), "b_dec": draw(16)}
    p = {k: v.requires_grad_() for k, v in p.items()}
    rest = Rest(subject, SITE, 2.0)
    rows = rest.look(inputs)
    assert rows.shape == (3 * 8 - 3, 16)
    progress = Progress(steps=10, silent=torch.zeros(20, dtype=torch.long), dead_after=9, step=9)
    loss = EndToEnd(rest, 0.5).loss(p, 2.0 * rows, 2.0 * rows, progress).loss

    f = ((2.0 * rows - p["b_dec"]) @ p["encoder"].T + p["b_enc"]).clamp_min(0)
    unit = p["decoder"] / p["decoder"].norm(dim=1, keepdim=True)
    rebuilt = ((f @ unit + p["b_dec"]) / 2.0).detach()
    clean, value = subject.run(inputs, record=[SITE]), None
    value = clean[SITE].clone()
    value[mask[:3].bool()] = rebuilt
    patched = subject.run(inputs, edits=[mt.patch(SITE, value)])
    a, b = (run.logits[mask[:3].bool()].double().softmax(-1) for run in (clean, patched))
    want = ((a * (a / b).log()).sum() + 0.5 * f.double().sum() / 16) / len(rows)
    assert float(loss) == pytest.approx(float(want), rel=1e-4)
    (grad,) = torch.autograd.grad(loss, p["b_dec"])
    for i in (0, 7):
        moved = []
        for step in (1e-2, -1e-2):
            q = p | {"b_dec": p["b_dec"].detach() + step * torch.eye(16)[i]}
            moved.append(float(EndToEnd(rest, 0.5).loss(q, 2.0 * rows, 2.0 * rows, progress).loss))
        assert float(grad[i]) == pytest.approx((moved[0] - moved[1]) / 2e-2, rel=0.1, abs=2e-2)


def test_training_lowers_the_divergence_and_leaves_the_subject_as_it_was(subject, ids):
    before = subject.fingerprint()
    made = end_to_end_sae(subject, ids, site=SITE, latents=32, sparsity=0.01, steps=60, batch=8, lr=5e-3)
    loss = made.training["loss"]
    assert loss.iloc[-5:].mean() < 0.5 * loss.iloc[:5].mean()
    control = random_dictionary(subject.record(as_inputs(ids), [SITE]), latents=32, k=4)
    cost = Recovered(subject, as_inputs(ids))({"made": made, "random": control})
    assert abs(cost["made/ce_increase"]) < abs(cost["random/ce_increase"]) + 0.05
    assert subject.fingerprint() == before
    assert all(q.requires_grad and q.grad is None for q in subject.module.parameters())
    again = end_to_end_sae(subject, ids, site=SITE, latents=32, sparsity=0.01, steps=5, batch=8, seed=2)
    same = end_to_end_sae(subject, ids, site=SITE, latents=32, sparsity=0.01, steps=5, batch=8, seed=2)
    assert again.fingerprint == same.fingerprint != made.fingerprint


def test_refusals(subject, ids):
    with pytest.raises(UsageError, match="sparsity"):
        end_to_end_sae(subject, ids, site=SITE, sparsity=-1.0)
    with pytest.raises(UsageError, match="one vector per position"):
        end_to_end_sae(subject, ids, site="blocks.0.attn.pattern", latents=8)
