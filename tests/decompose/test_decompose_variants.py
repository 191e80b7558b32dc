"""Each variant's loss and gradients against its equation written with loops; recovery, thresholds, matching pursuit."""

import pytest
import torch
from planted_dictionary import shuffled

from microtome.decompose import (
    PursuitDictionary,
    batch_topk_sae,
    gated_sae,
    jumprelu_sae,
    matryoshka_sae,
    mp_sae,
    p_annealed_sae,
)
from microtome.decompose.batch_topk_sae import BatchTopK, largest_of_batch
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formula import Progress
from microtome.decompose.gated_sae import Gated
from microtome.decompose.judge import fvu, mmcs
from microtome.decompose.jumprelu_sae import JumpReLU
from microtome.decompose.matryoshka_sae import Matryoshka
from microtome.decompose.mp_sae import Pursuit
from microtome.decompose.p_annealed_sae import FLOOR, PAnnealed
from microtome.decompose.pursuit import pursue
from microtome.errors import ShapeError, UsageError
from microtome.subject.basis import load_basis

F, D, N = 9, 4, 7


def setting(seed=0, **extra):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)  # noqa: E731
    p = {"encoder": draw(F, D), "b_enc": draw(F), "decoder": draw(F, D), "b_dec": draw(D)}
    p |= {name: make(draw) for name, make in extra.items()}
    return {k: v.requires_grad_() for k, v in p.items()}, draw(N, D)


def progress(step=500, steps=1000):
    return Progress(steps=steps, silent=torch.zeros(F, dtype=torch.long), dead_after=9, step=step)


def same(got, want, p, but=()):
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    used = [v for k, v in p.items() if k not in but]
    grads = [torch.autograd.grad(loss, used, allow_unused=True) for loss in (got, want)]
    for g, w in zip(*grads, strict=True):
        torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-10)


def test_gated_equals_the_equation_and_its_export_is_the_same_function():
    """The loss of gated_sae, one row and one latent at a time."""
    p, x = setting(r_mag=lambda draw: 0.3 * draw(F), b_mag=lambda draw: draw(F))
    got = Gated(0.7).loss(p, x, x, progress()).loss
    want, rebuilt = 0.0, []
    fixed, bias = p["decoder"].detach(), p["b_dec"].detach()
    for row in x:
        f, g = [], []
        for i in range(F):
            read = p["encoder"][i] @ (row - p["b_dec"])
            g.append((read + p["b_enc"][i]).clamp_min(0))
            f.append((p["r_mag"][i].exp() * read + p["b_mag"][i]).clamp_min(0) * (read + p["b_enc"][i] > 0))
        rebuilt.append(sum(f[i] * p["decoder"][i] for i in range(F)) + p["b_dec"])
        want = want + (row - rebuilt[-1]).square().sum() / N + 0.7 * sum(g) / N
        want = want + (row - sum(g[i] * fixed[i] for i in range(F)) - bias).square().sum() / N
    same(got, want, p)
    made = SparseDictionary("s", **Gated(0.7).export({k: v.detach() for k, v in p.items()}))
    torch.testing.assert_close(made(x), torch.stack(rebuilt).detach(), rtol=1e-10, atol=1e-10)


def test_jumprelu_equals_the_equation_with_its_pseudo_gradients():
    """The loss of jumprelu_sae, its pseudo-gradients put in by hand."""
    p, x = setting(log_threshold=lambda draw: 0.5 * draw(F) - 1.0)
    width = 0.8
    got = JumpReLU(0.3, width).loss(p, x, x, progress()).loss
    want, theta = 0.0, p["log_threshold"].exp()
    for row in x:
        rebuilt = p["b_dec"]
        for i in range(F):
            pre = p["encoder"][i] @ (row - p["b_dec"]) + p["b_enc"][i]
            on, near = float(pre > theta[i]), float((pre - theta[i]).abs() < width / 2)
            move = theta[i] - theta[i].detach()  # 0, with slope 1 in theta
            rebuilt = rebuilt + (pre * on - move * theta[i].detach() * near / width) * p["decoder"][i]
            want = want + 0.3 * (on - move * near / width) / N
        want = want + (row - rebuilt).square().sum() / (N * D)
    same(got, want, p)


def by_batch(pre, k):
    """Which entries are the k per row largest positive ones of the whole batch."""
    order = sorted(((float(v), b, i) for b, row in enumerate(pre) for i, v in enumerate(row) if v > 0), reverse=True)
    return {(b, i) for _, b, i in order[: k * len(pre)]}


@pytest.mark.parametrize("prefixes", [None, (2, 5, 9), (9,)])
def test_batch_topk_and_matryoshka_equal_the_equation(prefixes):
    """The losses of batch_topk_sae and matryoshka_sae, one entry at a time."""
    p, x = setting(threshold=lambda draw: torch.tensor(-1.0, dtype=torch.float64))
    formula = BatchTopK(2, 0) if prefixes is None else Matryoshka(2, 0, prefixes=prefixes)
    got = formula.loss(p, x, x, progress())
    pre = (x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]
    kept = by_batch(pre.detach(), 2)
    want, sizes = 0.0, prefixes or (F,)
    for m in sizes:
        for b, row in enumerate(x):
            rebuilt = sum((pre[b, i] * p["decoder"][i] for i in range(m) if (b, i) in kept), p["b_dec"])
            want = want + (row - rebuilt).square().sum() / (N * D * len(sizes))
    same(got.loss, want, p, but=("threshold",))
    assert int(got.fired.sum()) == len(kept)
    assert float(p["threshold"].detach()) == pytest.approx(min(float(pre[b, i].detach()) for b, i in kept))


@pytest.mark.parametrize("seed", range(6))
def test_the_largest_of_a_batch_are_found_also_when_one_row_holds_them_all(seed):
    g = torch.Generator().manual_seed(seed)
    pre = torch.randn(8, 40, generator=g)
    pre[seed % 8] += 5.0 * (seed % 3)  # beyond the candidates of a row
    rows, columns, smallest = largest_of_batch(pre, 2)
    kept = by_batch(pre, 2)
    assert set(zip(rows.tolist(), columns.tolist())) == kept
    assert float(smallest) == pytest.approx(min(float(pre[b, i].detach()) for b, i in kept))
    assert rows.tolist() == sorted(rows.tolist())
    rows, _, smallest = largest_of_batch(-pre.abs(), 2)
    assert (len(rows), float(smallest)) == (0, 0.0)


def test_p_annealing_equals_the_equation_and_keeps_the_strength():
    """The loss of p_annealed_sae, one entry at a time."""
    p, x = setting(strength=lambda draw: torch.tensor(0.7, dtype=torch.float64))
    formula = PAnnealed(0.7, 0.2)
    powers = [formula.power(progress(step)) for step in (0, 199, 200, 260, 799, 999)]
    assert powers == pytest.approx([1.0, 1.0, 0.92, 0.84, 0.2, 0.2])
    got = formula.loss(p, x, x, progress(260)).loss
    f = ((x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]).clamp_min(0)
    want = (x - f @ p["decoder"] - p["b_dec"]).square().sum() / N
    want = want + 0.7 * sum((v + FLOOR) ** 0.84 for v in f.flatten() if v > 0) / N
    same(got, want, p, but=("strength",))
    before = float(p["strength"]) * sum(float(v + FLOOR) ** 0.92 for v in f.flatten() if v > 0)
    with torch.no_grad():
        p["decoder"] /= p["decoder"].norm(dim=1, keepdim=True)
    formula.after_update(p, x, x, progress(260), None)
    after = float(p["strength"]) * sum(float(v + FLOOR) ** 0.84 for v in f.flatten() if v > 0)
    assert after == pytest.approx(before, rel=1e-6)


def unit(*shape, seed=0):
    rows = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows / rows.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("rows", [3, 40])  # few rows: correlations anew; many: by the Gram matrix
def test_matching_pursuit_equals_the_definition_and_its_residual_falls(rows):
    atoms, x, steps = unit(12, 5), 3 * unit(rows, 5, seed=1), 6
    chosen, values, residual = pursue(x, atoms, steps)
    for b in range(rows):
        r, size = x[b].clone(), x[b].norm() ** 2
        for t in range(steps):
            s = atoms @ r
            j = int(s.argmax())
            value = max(float(s[j]), 0.0)
            assert values[b, t] == pytest.approx(value, abs=1e-10)
            if value > 1e-9:
                assert int(chosen[b, t]) == j
            r = r - value * atoms[j]
            assert float(r @ atoms[j]) == pytest.approx(0.0, abs=1e-10)
            size -= value**2
            assert float(r.norm() ** 2) == pytest.approx(float(size), abs=1e-10)
        torch.testing.assert_close(residual[b], r, rtol=1e-9, atol=1e-9)
    mp = PursuitDictionary("s", W_dec=atoms, b_dec=torch.ones(5).double(), steps=steps)
    torch.testing.assert_close(mp(x + 1), x + 1 - residual, rtol=1e-9, atol=1e-9)
    errors = [fvu(x + 1, mp.with_steps(t)(x + 1)) for t in range(1, 9)]
    assert errors == sorted(errors, reverse=True)


def test_matching_pursuit_gradients_equal_those_of_the_chosen_products():
    """The loss of mp_sae, one atom at a time."""
    decoder, x = unit(F, D).requires_grad_(), unit(N, D, seed=2)
    p = {"decoder": decoder, "b_dec": torch.zeros(D, dtype=torch.float64, requires_grad=True)}
    got = Pursuit(3).loss(p, x, x, progress()).loss
    chosen = pursue(x, decoder.detach(), 3)[0]
    want = 0.0
    for b in range(N):
        r = x[b] - p["b_dec"]
        for j in chosen[b]:
            r = r - (r @ decoder[j]).clamp_min(0) * decoder[j]
        want = want + r.square().sum() / (N * D)
    same(got, want, p)


METHODS = {
    gated_sae: {"l1": 4.0, "lr": 0.02}, jumprelu_sae: {"sparsity": 0.04, "window": 0.5, "lr": 0.02},
    batch_topk_sae: {"k": 2, "lr": 0.02, "steps": 300}, matryoshka_sae: {"k": 2, "lr": 0.02, "steps": 300},
    p_annealed_sae: {"l1": 1.0, "lr": 0.01}, mp_sae: {"k": 3, "lr": 0.02},
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.__name__)
def test_planted_directions_are_found_and_shuffled_data_gives_none(planted, method, tmp_path):
    settings = {"latents": 64, "steps": 400, "batch": 128} | METHODS[method]
    found = method(planted.recording, **settings)
    null = method(shuffled(planted.x), **settings | {"steps": 150})
    assert mmcs(found.directions, planted.directions) >= 0.85
    assert mmcs(found.directions, planted.directions) >= mmcs(null.directions, planted.directions) + 0.2
    assert found.metrics["fvu"] <= 0.35
    assert found.metrics["l0"] <= 6
    found.save(tmp_path)
    back = load_basis(tmp_path)
    assert back.fingerprint == found.fingerprint
    assert torch.equal(back.encode(planted.x), found.encode(planted.x))


def test_thresholds_follow_the_scale_of_the_data(planted):
    from microtome.subject.recording import Recording

    x = planted.x.double()
    for method, extra in ((jumprelu_sae, {}), (gated_sae, {}), (batch_topk_sae, {"k": 2}), (mp_sae, {"k": 2})):
        settings = {"latents": 16, "steps": 40, "batch": 64} | extra
        small = method(Recording.of(x, site="hidden"), **settings)
        large = method(Recording.of(64.0 * x, site="hidden"), **settings)
        torch.testing.assert_close(large.encode(64.0 * x), 64.0 * small.encode(x), rtol=1e-7, atol=1e-7)


def test_refusals(planted):
    for method in (batch_topk_sae, matryoshka_sae):
        with pytest.raises(UsageError, match="k must lie in"):
            method(planted.recording, latents=4, k=5)
    with pytest.raises(UsageError, match="prefixes"):
        matryoshka_sae(planted.recording, latents=16, k=2, prefixes=[8, 4])
    with pytest.raises(UsageError, match="window"):
        jumprelu_sae(planted.recording, window=0.0)
    with pytest.raises(UsageError, match="end"):
        p_annealed_sae(planted.recording, end=0.0)
    with pytest.raises(UsageError, match="k must be"):
        mp_sae(planted.recording, k=0)
    with pytest.raises(ShapeError, match="norm 1"):
        PursuitDictionary("s", W_dec=2 * torch.eye(3), b_dec=torch.zeros(3), steps=1)
