"""The ReLU and tied autoencoders: equations, restarts, recovery."""

import pytest
import torch
from planted_dictionary import shuffled

from microtome.decompose import ica, pca, relu_sae, tied_sae
from microtome.decompose.data import Survey
from microtome.decompose.ends import Ends
from microtome.decompose.fitting import overwrite, schedule
from microtome.decompose.formula import Progress, keep_off_radius, renormalise
from microtome.decompose.judge import fvu, matched_cosine, mmcs
from microtome.decompose.relu_sae import ReLU
from microtome.decompose.tied_sae import Tied
from microtome.errors import UsageError


def parameters(latents=9, d=4, rows=13):
    g = torch.Generator().manual_seed(0)
    draw = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)  # noqa: E731
    p = {"encoder": draw(latents, d), "b_enc": draw(latents), "decoder": draw(latents, d), "b_dec": draw(d)}
    return {k: v.requires_grad_() for k, v in p.items()}, draw(rows, d)


def progress(step=0, steps=100, latents=9, silent=0):
    return Progress(steps=steps, silent=torch.full((latents,), silent), dead_after=5, step=step)


@pytest.mark.parametrize(("step", "ramp"), [(0, 0.2), (4, 1.0), (60, 1.0)])
def test_relu_loss_and_gradients_equal_the_equation(step, ramp):
    p, x = parameters()
    got = ReLU(0.7).loss(p, x, x, progress(step)).loss
    want = 0.0
    for row in x:
        f = [torch.clamp(p["encoder"][i] @ (row - p["b_dec"]) + p["b_enc"][i], min=0) for i in range(9)]
        rebuilt = sum(f[i] * p["decoder"][i] for i in range(9)) + p["b_dec"]
        want = want + ((row - rebuilt) ** 2).sum() / len(x)
        want = want + 0.7 * ramp * sum(f[i] * (p["decoder"][i] ** 2).sum().sqrt() for i in range(9)) / len(x)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    for a, b in zip(*(torch.autograd.grad(loss, list(p.values())) for loss in (got, want))):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_tied_loss_and_gradients_equal_the_equation():
    p, x = parameters()
    p = {"encoder": p["encoder"], "b_enc": p["b_enc"]}
    got = Tied(0.7).loss(p, x, x, progress(50)).loss
    want = 0.0
    for row in x:
        c = [torch.clamp(m @ row + b, min=0) for m, b in zip(p["encoder"], p["b_enc"])]
        want = want + ((row - sum(ci * m for ci, m in zip(c, p["encoder"]))) ** 2).sum() / len(x)
        want = want + 0.7 * sum(c) / len(x)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    for a, b in zip(*(torch.autograd.grad(loss, list(p.values())) for loss in (got, want))):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_gradients_leave_the_radius_alone():
    p, _ = parameters()
    rows = p["decoder"]
    renormalise(rows)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(9, dtype=torch.float64))
    rows.grad = torch.ones_like(rows)
    keep_off_radius(rows)
    assert (rows.grad * rows).sum(1).abs().max() < 1e-12


def test_export_with_unit_directions_is_the_same_function():
    p, x = parameters()
    from microtome.decompose.dictionary import SparseDictionary

    frozen = {k: v.detach() for k, v in p.items()}
    dictionary = SparseDictionary("s", **ReLU(1.0).export(frozen))
    torch.testing.assert_close(dictionary(x), ReLU(1.0).forward(frozen, x)[1], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(dictionary.W_dec.norm(dim=1), torch.ones(9, dtype=torch.float64))
    moments = Survey("s", "", 9, 4, torch.zeros(4, dtype=torch.float64), torch.full((4,), 3.7**-2, dtype=torch.float64), 0.0)
    ends = Ends(moments, moments, ("s",), ("s",), (4,), (4,))
    folded = SparseDictionary("s", **ends.fold(ReLU(1.0).export(frozen)))
    torch.testing.assert_close(folded(x), dictionary(3.7 * x) / 3.7, rtol=1e-10, atol=1e-10)


def test_dead_latents_restart_from_badly_rebuilt_inputs_and_others_stay():
    p, x = parameters()
    optimizer = torch.optim.Adam(list(p.values()), lr=1e-3)
    sum(v.square().sum() for v in p.values()).backward()
    optimizer.step()
    before = {k: v.detach().clone() for k, v in p.items()}
    state = progress(step=20, silent=0)
    state.silent[[2, 5]] = 10
    seen = []
    ReLU(1.0).after_update(
        p, x, x, state, lambda rows, which: (seen.append((rows, which)), overwrite(p, optimizer, rows, which))
    )
    rows, which = seen[0]
    assert which.tolist() == [2, 5]
    inputs = (x - before["b_dec"]) / (x - before["b_dec"]).norm(dim=1, keepdim=True)
    for row in rows["decoder"]:
        assert float((inputs - row).norm(dim=1).min()) < 1e-12
    others = [i for i in range(9) if i not in (2, 5)]
    alive = before["encoder"][others].norm(dim=1).mean()
    torch.testing.assert_close(rows["encoder"], 0.2 * alive * rows["decoder"])
    for name in ("decoder", "encoder", "b_enc"):
        assert torch.equal(p[name][others], before[name][others])
        torch.testing.assert_close(p[name][which].detach(), rows[name])
        moments = optimizer.state[p[name]]
        assert float(moments["exp_avg"][which].abs().sum() + moments["exp_avg_sq"][which].abs().sum()) == 0
        assert float(moments["exp_avg"][others].abs().sum()) > 0
    # Not between the restarts, and not late in training.
    for step in (19, 21, 80, 100):
        state.step = step
        ReLU(1.0).after_update(p, x, x, state, lambda *a: seen.append(a))
    assert len(seen) == 1


def test_the_schedule_warms_up_and_ends_near_zero():
    rates = [schedule(i, 100) for i in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(rates[5:80]) == {1.0}
    assert rates[80:82] + rates[-1:] == pytest.approx([1.0, 0.95, 0.05])
    assert schedule(0, 1) == 1.0


def test_relu_sae_recovers_planted_directions_and_beats_linear_bases_and_the_null(planted):
    settings = {"latents": 64, "l1": 2.0, "steps": 500, "batch": 128, "lr": 0.02}
    found = relu_sae(planted.recording, **settings)
    null = relu_sae(shuffled(planted.x), **settings)
    score = mmcs(found.directions, planted.directions)
    assert score >= 0.9
    assert matched_cosine(found.directions, planted.directions) >= 0.8
    assert score >= mmcs(null.directions, planted.directions) + 0.3
    for linear in (pca(planted.recording), ica(planted.recording)):
        assert score >= mmcs(linear.directions, planted.directions) + 0.2


def test_tied_sae_recovers_planted_directions(planted):
    found = tied_sae(planted.recording, latents=64, steps=500, batch=128, lr=0.02)
    assert mmcs(found.directions, planted.directions) >= 0.8
    assert torch.equal(found.W_enc, found.W_dec.T)
    assert fvu(planted.x, found(planted.x)) == pytest.approx(found.metrics["fvu"], rel=1e-4)


@pytest.mark.parametrize("method", [relu_sae, tied_sae])
def test_same_seed_same_bytes_and_refusals(planted, method):
    settings = {"latents": 16, "steps": 25, "batch": 64}
    a, b, c = (method(planted.recording, **settings, seed=s) for s in (3, 3, 4))
    assert a.fingerprint == b.fingerprint != c.fingerprint
    for bad in (-1.0, float("nan")):
        with pytest.raises(UsageError, match="l1"):
            method(planted.recording, l1=bad)
