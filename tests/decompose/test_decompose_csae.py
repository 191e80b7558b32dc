"""The contrastive autoencoder: equation, the split of a pair's factors, refusals."""

import pytest
import torch

from microtome.decompose import csae
from microtome.decompose.csae import Contrastive
from microtome.decompose.formula import Progress
from microtome.errors import ShapeError, UsageError
from microtome.subject.recording import Recording

F, D, N = 6, 4, 5


def test_the_loss_equals_the_equation():
    """The loss of csae, one pair and one latent at a time."""
    g = torch.Generator().manual_seed(0)
    draw = lambda *s: torch.randn(*s, generator=g, dtype=torch.float64)  # noqa: E731
    p = {"encoder": draw(F, D), "b_enc": draw(F), "decoder": draw(F, D), "b_dec": draw(D)}
    p = {k: v.requires_grad_() for k, v in p.items()}
    x = draw(N, 2 * D)
    progress = Progress(steps=10, silent=torch.zeros(F, dtype=torch.long), dead_after=9, step=9)
    got = Contrastive(0.3, 0.7).loss(p, x, x, progress).loss
    want = 0.0
    for row in x:
        codes = []
        for side in (row[:D], row[D:]):
            f = torch.stack([(p["encoder"][i] @ (side - p["b_dec"]) + p["b_enc"][i]).clamp_min(0) for i in range(F)])
            rebuilt = sum(f[i] * p["decoder"][i] for i in range(F)) + p["b_dec"]
            want = want + ((side - rebuilt).square().sum() + 0.3 * f.sum()) / N
            codes.append(f)
        for i in range(F):
            a, b = codes[0][i], codes[1][i]
            want = want + 0.7 * ((a - b).abs() if i < F // 2 else a * b) / N
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    for a, b in zip(*(torch.autograd.grad(loss, list(p.values())) for loss in (got, want)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def sides(rows=4000):
    g = torch.Generator().manual_seed(1)
    truth = torch.nn.functional.normalize(torch.randn(24, 24, generator=g), dim=1)
    codes = lambda n: (torch.rand(rows, n, generator=g) < 0.15) * (0.5 + torch.rand(rows, n, generator=g))  # noqa: E731
    shared = codes(12) @ truth[:12]
    return Recording.of({"a": shared + codes(6) @ truth[12:18] + 2.0, "b": shared + codes(6) @ truth[18:] + 2.0}), truth


def test_common_latents_agree_over_a_pair_and_contrasting_ones_exclude_each_other():
    rec, truth = sides()
    made = csae(rec, latents=48, l1=0.5, contrast=2.0, steps=500, batch=128, lr=0.01)
    a, b = made.encode(rec["a"].matrix()), made.encode(rec["b"].matrix())
    assert (a[:, :24] - b[:, :24]).abs().sum() <= 0.1 * a[:, :24].sum()
    assert (a[:, 24:] * b[:, 24:]).sum() <= 0.05 * a[:, 24:].square().sum()
    cosine = made.directions @ truth.T
    assert float((cosine[24:, 12:].max(0).values > 0.8).double().mean()) >= 0.7
    assert float((cosine[:24, :12].max(0).values > 0.8).double().mean()) >= 0.7
    assert made.names is not None
    assert (made.site, made.names[0], made.names[24]) == ("a", "common.0", "contrast.0")
    assert made.metrics["fvu"] < 0.3


def test_refusals():
    rec, _ = sides(rows=50)
    with pytest.raises(UsageError, match="pairs"):
        csae(rec["a"])
    with pytest.raises(UsageError, match="contrast"):
        csae(rec, contrast=-1.0)
    with pytest.raises(ShapeError, match="one width"):
        csae(Recording.of({"a": rec["a"].matrix(), "b": rec["b"].matrix()[:, :5]}))
