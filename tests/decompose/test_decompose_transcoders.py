"""Transcoders, crosscoders, cross-layer transcoders: equations, scales folded in, recovery, files, refusals."""

import pytest
import torch
from planted_dictionary import plant

from microtome.decompose import (
    CrossLayerTranscoder,
    cross_layer_transcoder,
    crosscoder,
    relu_transcoder,
    skip_transcoder,
    transcoder,
)
from microtome.decompose.cross_layer_transcoder import PULL, STEEPNESS, WINDOW, CrossLayer
from microtome.decompose.ends import Feed
from microtome.decompose.fitting import Fit, Recipe
from microtome.decompose.formula import Progress
from microtome.decompose.judge import fvu, mmcs
from microtome.decompose.relu_sae import ReLU
from microtome.decompose.topk_sae import TopK
from microtome.decompose.transcoder import Skipped
from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.subject.basis import load_basis
from microtome.subject.recording import Recording

D, OUT, LATENTS = 5, 4, 9


def draws(seed=0):
    g = torch.Generator().manual_seed(seed)
    return lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)


def parameters(skip=False):
    draw = draws()
    p = {"encoder": draw(LATENTS, D), "b_enc": draw(LATENTS), "decoder": draw(LATENTS, OUT), "b_dec": draw(OUT)}
    p |= {"skip": draw(D, OUT)} if skip else {}
    return {k: v.requires_grad_() for k, v in p.items()}, draw(7, D), draw(7, OUT)


def progress(latents=LATENTS, step=10**6):
    return Progress(steps=10**6, silent=torch.zeros(latents, dtype=torch.long), dead_after=5, step=step)


def same(got, want, p):
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    for g, w in zip(*(torch.autograd.grad(loss, list(p.values())) for loss in (got, want)), strict=True):
        torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("skip", [False, True])
def test_topk_transcoders_equal_the_equation(skip):
    """The losses of transcoder and skip_transcoder, one row at a time."""
    p, x, y = parameters(skip)
    formula = (Skipped if skip else TopK)(3, 0, centred=False)
    want = 0.0
    for row, target in zip(x, y):
        pre = p["encoder"] @ row + p["b_enc"]
        kept = sorted(range(LATENTS), key=lambda i: -float(pre[i].detach()))[:3]
        rebuilt = sum(pre[i].clamp_min(0) * p["decoder"][i] for i in kept) + p["b_dec"]
        rebuilt = rebuilt + row @ p["skip"] if skip else rebuilt
        want = want + (target - rebuilt).square().sum() / (7 * OUT)
    same(formula.loss(p, x, y, progress()).loss, want, p)


@pytest.mark.parametrize("widths", [(), (1, 3)])
def test_relu_transcoder_and_crosscoder_penalties_equal_the_equation(widths):
    """The losses of relu_transcoder and crosscoder, one latent at a time."""
    p, x, y = parameters()
    want = 0.0
    for row, target in zip(x, y):
        f = (p["encoder"] @ row + p["b_enc"]).clamp_min(0)
        want = want + (target - f @ p["decoder"] - p["b_dec"]).square().sum() / 7
        for i in range(LATENTS):
            norms = [part.square().sum().sqrt() for part in p["decoder"][i].split(list(widths) or [OUT])]
            want = want + 0.3 * f[i] * sum(norms) / 7
    same(ReLU(0.3, 0, widths, centred=False).loss(p, x, y, progress()).loss, want, p)


def cross_layer_parameters(layers=3, latents=4):
    draw = draws(1)
    p = {"encoder": draw(layers, latents, D), "b_enc": draw(layers, latents), "b_dec": draw(layers, OUT)}
    p |= {"log_threshold": 0.3 * draw(layers, latents)}
    p |= {f"decoder_{l}": draw(latents, layers - l, OUT) for l in range(layers)}
    return {k: v.requires_grad_() for k, v in p.items()}, draw(6, layers * D), draw(6, layers * OUT)


def test_cross_layer_loss_and_pseudo_gradients_equal_the_equation():
    """The loss of cross_layer_transcoder, layer by layer."""
    p, x, y = cross_layer_parameters()
    got = CrossLayer(3, 0.5, centred=False).loss(p, x, y, progress(12)).loss
    theta = p["log_threshold"].exp()
    codes, want = {}, 0.0
    for b in range(6):
        for l in range(3):
            pre = p["encoder"][l] @ x[b, l * D : (l + 1) * D] + p["b_enc"][l]
            gap = (pre - theta[l]).detach()
            window = (gap.abs() < WINDOW / 2).double()
            # value pre * H; slope H in pre and -theta / width in theta inside the window
            slope = (theta[l] * (-theta[l].detach() * window / WINDOW)) - (theta[l] * (-theta[l] * window / WINDOW)).detach()
            codes[b, l] = pre * (gap > 0) + slope
            norms = p[f"decoder_{l}"].square().sum((1, 2)).sqrt()
            want = want + 0.5 * torch.tanh(STEEPNESS * norms * codes[b, l]).sum() / 6
            want = want + PULL * ((theta[l] - pre).clamp_min(0) * norms).sum() / 6
        for m in range(3):
            rebuilt = p["b_dec"][m] + sum(codes[b, l] @ p[f"decoder_{l}"][:, m - l] for l in range(m + 1))
            want = want + (y[b, m * OUT : (m + 1) * OUT] - rebuilt).square().sum() / 6
    same(got, want, p)


def two_sites(rows=4000, seed=0, noise=0.0):
    """Planted codes read as x and written as y through other directions."""
    made, g = plant(rows=rows, d=24, features=32, rate=0.06, noise=noise), torch.Generator().manual_seed(seed + 9)
    out = torch.randn(32, 16, generator=g)
    out = out / out.norm(dim=1, keepdim=True)
    return Recording.of({"in": 3.0 * made.x + 5.0, "out": 0.2 * (made.codes @ out) - 1.0}), out


def test_scales_are_folded_exactly():
    rec, _ = two_sites(rows=300)
    rec = Recording.of({s: rec[s].matrix().double() for s in rec.sites})
    for formula in (TopK(3, centred=False), Skipped(3, centred=False), ReLU(0.5, centred=False)):
        feed = Feed(rec, "in", "out")
        fit = Fit(Recipe(formula, 20, "in", "out"), feed.ends, torch.zeros((), dtype=torch.float64), steps=9, batch=100)
        for x, y in feed.batches(100, 0):
            fit.update(x, y)
        x, y = feed.x.matrix(), feed.y.matrix()
        built, p = fit.dictionary(), {k: v.detach() for k, v in fit.p.items()}
        step = formula.loss(p, *fit.scaled(x, y), progress(20))
        torch.testing.assert_close((y - built(x)).square().sum() * fit.scale_out**2, step.error, rtol=1e-9, atol=1e-9)
        fired = built.encode(x).bool().sum(0)
        assert torch.equal(fired, step.fired)
        torch.testing.assert_close(built.W_dec.norm(dim=1), torch.ones(20, dtype=torch.float64))


def test_several_sites_are_scaled_each_by_itself_and_folded_exactly():
    rec, _ = two_sites(rows=300)
    rec = Recording.of({s: rec[s].matrix().double() for s in rec.sites})
    like = torch.zeros((), dtype=torch.float64)
    feed = Feed(rec, ["in", "out"])
    formula = ReLU(0.5, 0, feed.ends.widths_in, centred=False)
    fit = Fit(Recipe(formula, 20, ["in", "out"]), feed.ends, like, steps=9, batch=100)
    for x, _ in feed.batches(100, 0):
        fit.update(x, x)
    x, built = feed.x.matrix(), fit.dictionary()
    scaled, _ = fit.scaled(x, None)
    for part in scaled.split(built.widths, 1):
        assert float(part.var(0, correction=0).mean()) == pytest.approx(1.0)
    step = formula.loss({k: v.detach() for k, v in fit.p.items()}, scaled, scaled, progress(20))
    torch.testing.assert_close(((x - built(x)) * fit.scale_in).square().sum(), step.error, rtol=1e-9, atol=1e-9)
    assert built.split(x)["out"].shape == (300, 16)
    torch.testing.assert_close(built.at("out").decode(built.encode(x)), built.split(built(x))["out"])


def test_cross_layer_transcoder_equals_its_parts_and_its_scales_are_folded():
    _, x, y = cross_layer_parameters()
    names = {"reads": ["a", "b", "c"], "writes": ["u", "v", "w"]}
    sites = dict(zip(names["reads"] + names["writes"], [*x.split(D, 1), *(t * (i + 1) for i, t in enumerate(y.split(OUT, 1)))]))
    feed = Feed(Recording.of(sites), **names)
    formula, like = CrossLayer(3, 0.5, centred=False), torch.zeros((), dtype=torch.float64)
    fit = Fit(Recipe(formula, 12, **names, lr=0.01), feed.ends, like, steps=30, batch=6)
    for _ in range(30):
        fit.update(feed.x.matrix(), feed.y.matrix())
    clt, x, y = fit.dictionary(), feed.x.matrix(), feed.y.matrix()
    assert isinstance(clt, CrossLayerTranscoder)
    step = formula.loss({k: v.detach() for k, v in fit.p.items()}, *fit.scaled(x, y), progress(12))
    torch.testing.assert_close(((y - clt(x)) * fit.scale_out).square().sum(), step.error, rtol=1e-9, atol=1e-9)
    inputs = dict(zip(clt.reads, x.split(D, 1)))
    for m in range(3):
        total = clt.b_dec[m]
        for l in range(m + 1):
            part = clt.at(l, m)
            total = total + part(inputs[part.site]) - part.b_dec
        torch.testing.assert_close(total, clt(x).split(OUT, 1)[m], rtol=1e-10, atol=1e-10)
    with pytest.raises(UsageError, match="source <= target"):
        clt.at(2, 1)


@pytest.mark.parametrize(
    ("method", "extra"), [(transcoder, {"k": 3}), (skip_transcoder, {"k": 3}), (relu_transcoder, {"l1": 1.0})]
)
def test_planted_directions_of_the_written_site_and_the_null(method, extra, tmp_path):
    rec, out = two_sites()
    settings = {"latents": 32, "steps": 400, "batch": 128, "lr": 0.02} | extra
    found = method(rec, **settings)
    null = method(Recording.of({"in": rec["in"].matrix(), "out": rec["out"].permuted(0).matrix()}), **settings)
    assert (found.site, found.writes, found.reads) == ("in", "out", ("in",))
    assert found.metrics["fvu"] == pytest.approx(fvu(rec["out"].matrix(), found(rec["in"].matrix())), rel=1e-4)
    assert found.metrics["fvu"] <= 0.25 < 0.9 < null.metrics["fvu"]
    if method is not skip_transcoder:  # its bypass takes what is linear
        assert mmcs(found.directions, out) >= 0.85
        assert mmcs(found.directions, out) >= mmcs(null.directions, out) + 0.2
    found.save(tmp_path)
    back = load_basis(tmp_path)
    assert back.fingerprint == found.fingerprint
    assert torch.equal(back(rec["in"].matrix()), found(rec["in"].matrix()))
    again = method(rec.save(tmp_path / "rec"), **settings | {"steps": 20})
    assert again.fingerprint == method(rec, **settings | {"steps": 20}).fingerprint


def test_a_cross_layer_transcoder_explains_planted_outputs_and_not_permuted_ones():
    """The null of cross_layer_transcoder: outputs of other rows."""
    made, g = plant(rows=2000, d=16, features=16, rate=0.08), torch.Generator().manual_seed(3)
    later = made.codes @ torch.randn(16, 8, generator=g)
    sites = {"x0": made.x, "x1": made.x.flip(1), "y0": made.x[:, :8], "y1": later}
    settings = {"reads": ["x0", "x1"], "writes": ["y0", "y1"], "latents": 32, "steps": 250, "batch": 128, "lr": 0.01}
    found = cross_layer_transcoder(Recording.of(sites), sparsity=0.05, **settings)
    order = torch.randperm(2000, generator=g)
    null = Recording.of(sites | {"y0": sites["y0"][order], "y1": later[order]})
    assert found.metrics["fvu"] <= 0.2
    assert cross_layer_transcoder(null, sparsity=0.05, **settings).metrics["fvu"] >= 0.8


def test_a_crosscoder_finds_what_two_sites_share_and_what_one_has_alone(tmp_path):
    made = plant(rows=4000, d=24, features=24, rate=0.06)
    left, right = made.codes.clone(), made.codes.clone()
    left[:, 16:20], right[:, 20:] = 0.0, 0.0  # 16 shared, 4 on the right only, 4 on the left only
    g = torch.Generator().manual_seed(5)
    other = torch.nn.functional.normalize(torch.randn(24, 24, generator=g), dim=1)
    rec = Recording.of({"l": left @ made.directions, "r": 4.0 * right @ other})
    both = crosscoder(rec, latents=24, l1=2.0, steps=500, batch=128, lr=0.02)
    assert both.metrics["fvu"] < 0.35
    by_truth = (
        torch.nn.functional.normalize(made.directions, dim=1)
        @ torch.nn.functional.normalize(both.W_dec.split(both.widths, 1)[0], dim=1).T
    )
    share = both.norms() / torch.tensor([rec["l"].std().norm(), rec["r"].std().norm()])
    share = share[:, 1] / share.sum(1)
    best = by_truth.max(1)
    assert float(best.values[:16].mean()) > 0.85
    assert 0.3 < float(share[best.indices[:16]].mean()) < 0.7
    assert float(share[best.indices[20:]].mean()) < 0.2
    both.save(tmp_path)
    assert load_basis(tmp_path).fingerprint == both.fingerprint
    with pytest.raises(UsageError, match="sites"):
        both.at("elsewhere")


def test_refusals():
    rec, _ = two_sites(rows=60)
    with pytest.raises(UsageError, match="k must lie in"):
        transcoder(rec, latents=4, k=5)
    with pytest.raises(UsageError, match="two sites"):
        transcoder(rec["in"], latents=8, k=2)
    with pytest.raises(UsageError, match="two sites"):
        transcoder(rec, reads="in", writes="in", latents=8, k=2)
    with pytest.raises(UsageError, match="l1"):
        relu_transcoder(rec, l1=-1.0)
    with pytest.raises(UsageError, match="at least two sites"):
        crosscoder(rec, sites=["in"])
    with pytest.raises(UsageError, match="equal widths"):
        cross_layer_transcoder(rec, reads=["in", "out"], writes=["out", "in"])
    flat = Recording.of({"in": rec["in"].matrix(), "out": torch.ones(60, 3)})
    with pytest.raises(Degenerate, match="'out'"):
        transcoder(flat, latents=8, k=2)
    made = transcoder(rec, latents=8, k=2, steps=2, batch=8)
    with pytest.raises(ShapeError, match="24"):
        made.encode(torch.zeros(1, 16))
