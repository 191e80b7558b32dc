"""TopK and AuxK against their equations, and what training promises."""

import pytest
import torch
from planted_dictionary import shuffled

from microtome.decompose.formula import Progress
from microtome.decompose.judge import matched_cosine, mmcs
from microtome.decompose.topk_sae import AUX_WEIGHT, TopK, topk_sae
from microtome.decompose.train import train
from microtome.errors import Degenerate, NonFinite, UsageError
from microtome.subject.basis import load_basis
from microtome.subject.recording import Recording


def parameters(latents=24, d=6, seed=0):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)  # noqa: E731
    p = {"encoder": draw(latents, d), "b_enc": draw(latents), "decoder": draw(latents, d), "b_dec": draw(d)}
    return {k: v.requires_grad_() for k, v in p.items()}, draw(11, d)


def equation(p, x, k, dead, k_aux):
    """Gao et al. 2024, sections 2.3 and A.2, written densely and with loops."""
    pre = (x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]
    total = variance = aux = 0
    rebuilt = []
    for row in pre:
        keep = torch.argsort(row, descending=True)[:k]
        z = torch.zeros_like(row)
        z[keep] = row[keep].clamp_min(0)
        rebuilt.append(z @ p["decoder"] + p["b_dec"])
    rebuilt = torch.stack(rebuilt)
    total = ((x - rebuilt) ** 2).sum(1).mean() / x.shape[1]
    if len(dead):
        e = (x - rebuilt).detach()
        guesses = []
        for row in pre:
            keep = dead[torch.argsort(row[dead], descending=True)[:k_aux]]
            z = torch.zeros_like(row)
            z[keep] = row[keep].clamp_min(0)
            guesses.append(z @ p["decoder"])
        variance = ((e - e.mean(0)) ** 2).sum()
        aux = ((e - torch.stack(guesses)) ** 2).sum() / variance
    return total + AUX_WEIGHT * aux


@pytest.mark.parametrize("dead", [[], [1, 5, 8, 13, 21], [4]])
def test_loss_and_every_gradient_equal_the_equation(dead):
    p, x = parameters()
    dead = torch.tensor(dead, dtype=torch.long)
    progress = Progress(steps=10, silent=torch.zeros(24, dtype=torch.long), dead_after=1, dead=dead)
    fast = TopK(k=3, auxk=2).loss(p, x, x, progress).loss
    slow = equation(p, x, 3, dead, 2)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    got, want = (torch.autograd.grad(loss, list(p.values())) for loss in (fast, slow))
    for g, w in zip(got, want):
        torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-10)


def test_auxk_reaches_the_encoder_of_dead_latents_and_leaves_the_living_alone():
    p, x = parameters()
    dead = torch.tensor([2, 7])
    progress = Progress(steps=10, silent=torch.zeros(24, dtype=torch.long), dead_after=1, dead=dead)
    with_aux = torch.autograd.grad(TopK(3, 2).loss(p, x, x, progress).loss, p["encoder"])[0]
    without = torch.autograd.grad(TopK(3, 0).loss(p, x, x, progress).loss, p["encoder"])[0]
    changed = (with_aux - without).abs().sum(1) > 1e-12
    assert changed.nonzero().flatten().tolist() == [2, 7]


def test_auxk_is_zero_and_finite_where_the_residual_does_not_vary():
    p, x = parameters()
    progress = Progress(steps=1, silent=torch.zeros(24, dtype=torch.long), dead_after=1, dead=torch.tensor([3]))
    loss = TopK(3, 2).loss(p, x[:1], x[:1], progress).loss
    grads = torch.autograd.grad(loss, list(p.values()))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in grads)


def test_planted_directions_are_recovered_and_shuffled_data_gives_none(planted):
    settings = {"latents": 64, "k": 3, "steps": 400, "batch": 128, "lr": 0.02, "seed": 0}
    found = topk_sae(planted.recording, **settings)
    null = topk_sae(shuffled(planted.x), **settings)
    assert mmcs(found.directions, planted.directions) >= 0.9
    assert matched_cosine(found.directions, planted.directions) >= 0.85
    assert mmcs(null.directions, planted.directions) <= 0.6
    assert found.metrics["fvu"] < 0.5 * null.metrics["fvu"]


def test_same_seed_same_bytes_other_seed_others_and_global_state_untouched(planted):
    settings = {"latents": 16, "k": 2, "steps": 30, "batch": 64}
    state = torch.get_rng_state()
    a, b, c = (topk_sae(planted.recording, **settings, seed=s) for s in (3, 3, 4))
    assert a.fingerprint == b.fingerprint != c.fingerprint
    assert torch.equal(state, torch.get_rng_state())


def test_disk_backed_equals_in_memory(planted, tmp_path):
    settings = {"latents": 16, "k": 2, "steps": 30, "batch": 64}
    stored = planted.recording.save(tmp_path / "rec")
    assert topk_sae(stored, **settings).fingerprint == topk_sae(planted.recording, **settings).fingerprint


def test_directions_stay_on_the_unit_sphere_and_the_curve_is_a_table(planted):
    sae = topk_sae(planted.recording, latents=16, k=2, steps=40, batch=64)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(16), rtol=1e-5, atol=1e-5)
    assert list(sae.training.columns) == ["step", "loss", "fvu", "l0", "dead"]
    assert sae.training["step"].iloc[-1] == 40
    assert sae.training["fvu"].iloc[-1] < sae.training["fvu"].iloc[0]


def test_the_scale_of_the_data_does_not_matter(planted):
    settings = {"latents": 16, "k": 2, "steps": 60, "batch": 64}
    x = planted.x.double()
    small = topk_sae(Recording.of(x, site="hidden"), **settings)
    large = topk_sae(Recording.of(1024.0 * x, site="hidden"), **settings)
    assert large.metrics["fvu"] == pytest.approx(small.metrics["fvu"], rel=1e-9)
    torch.testing.assert_close(large.encode(1024.0 * x), 1024.0 * small.encode(x), rtol=1e-7, atol=1e-7)


class HalfAsleep(TopK):
    """Half of the latents start with weights so small that they never are among the k largest."""

    def start(self, directions, mean):
        p = super().start(directions, mean)
        p["encoder"][: len(directions) // 2] *= 1e-3
        return p


def test_auxk_wakes_latents_that_the_main_loss_cannot_reach(planted):
    # 64 true directions: the waking half cannot explain them all.
    dead = {}
    for auxk in (16, 0):
        sae = train(planted.recording, HalfAsleep(3, auxk), latents=64, steps=300, batch=64, lr=0.01)
        dead[auxk] = sae.metrics["dead"]
    assert dead[0] >= 0.4
    assert dead[16] <= 0.15


def test_save_and_load(planted, tmp_path):
    sae = topk_sae(planted.recording, latents=16, k=2, steps=10, batch=64)
    sae.save(tmp_path / "sae")
    back = load_basis(tmp_path / "sae")
    assert back.fingerprint == sae.fingerprint
    assert back.metrics == sae.metrics
    assert torch.equal(back.encode(planted.x), sae.encode(planted.x))
    assert back.training.equals(sae.training)


def test_ctrl_c_keeps_what_was_reached(planted, monkeypatch):
    calls = []
    after = TopK.after_update

    def stop(self, *a):
        after(self, *a)
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(TopK, "after_update", stop)
    with pytest.warns(UserWarning, match="stopped after 7 of 50"):
        sae = topk_sae(planted.recording, latents=16, k=2, steps=50, batch=64)
    assert 0 < sae.metrics["fvu"] < 2


def test_refusals(planted):
    with pytest.raises(UsageError, match="k must lie in"):
        topk_sae(planted.recording, latents=4, k=5)
    with pytest.raises(UsageError, match="steps"):
        topk_sae(planted.recording, latents=4, k=2, steps=0)
    with pytest.raises(Degenerate, match="equal"):
        topk_sae(Recording.of(torch.ones(50, 4), site="s"), latents=4, k=2)
    with pytest.raises(Degenerate, match="rows"):
        topk_sae(Recording.of(torch.ones(1, 4), site="s"), latents=4, k=2)
    with pytest.raises(UsageError, match="one site"):
        topk_sae(Recording.of({"a": torch.randn(50, 4), "b": torch.randn(50, 4)}), latents=4, k=2)
    with pytest.raises(NonFinite):
        topk_sae(planted.recording, latents=16, k=2, steps=200, batch=64, lr=1e30)
    with pytest.warns(UserWarning, match="record more samples"):
        topk_sae(Recording.of(torch.randn(20, 4), site="s"), latents=32, k=2, steps=2, batch=8)


def test_a_constant_unit_does_no_harm(planted):
    x = torch.cat([planted.x, torch.full((len(planted.x), 1), 7.0)], 1)
    sae = topk_sae(Recording.of(x, site="s"), latents=16, k=2, steps=300, batch=64)
    assert sae.metrics["fvu"] < 1.0
    assert (sae(x)[:, -1] - 7.0).abs().max() < 0.5
