"""Dictionaries of functions: Fourier multipliers against convolutions by loops, grids, lifting, recovery."""

import math

import pytest
import torch

from microtome.decompose import FunctionDictionary, convolutional_sae, sae_neural_operator
from microtome.decompose.functions import kernel_match
from microtome.decompose.sae_neural_operator import Fourier
from microtome.errors import ShapeError, UsageError
from microtome.subject.basis import load_basis
from microtome.subject.recording import Recording


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_convolution(kernel, z):
    """Circular convolution by loops; the kernel's value at distance j stands at j modulo n."""
    n = len(z)
    return [sum(float(kernel[(i - j) % n]) * float(z[j]) for j in range(n)) for i in range(n)]


def modes_of(kernels):
    """Coefficients of kernels on an odd grid, all of them."""
    return torch.view_as_real(torch.fft.rfft(kernels, norm="forward"))


def test_all_modes_equal_a_circular_convolution_with_the_same_weights():
    """The operator is the convolutional autoencoder when nothing is truncated: same codes, same reconstruction."""
    n, x, threshold = 9, draw(4, 9), 0.05 * torch.ones(3).double()
    read, write = draw(3, n, seed=1), draw(3, n, seed=2)
    about = {"threshold": threshold, "offset": torch.tensor(0.3).double(), "points": n, "iterations": 3}
    operator = FunctionDictionary("s", read=modes_of(read) * n, write=modes_of(write) * n, **about)
    taps = {name: w.roll(n // 2, 1) for name, w in (("read", read), ("write", write))}
    local = FunctionDictionary("s", **taps, **about)
    z = operator.encode(x)
    assert torch.allclose(z, local.encode(x), atol=1e-10)
    assert torch.allclose(operator.decode(z), local.decode(z), atol=1e-10)
    assert torch.allclose(operator.kernels * 1.0, local.kernels, atol=1e-10)
    codes = torch.zeros(4, 3, n).double()
    for _ in range(3):
        rebuilt = torch.tensor(
            [[sum(v) for v in zip(*(slow_convolution(write[c], codes[b, c]) for c in range(3)))] for b in range(4)]
        )
        left = x - 0.3 - rebuilt
        codes = torch.stack(
            [codes[:, c] + torch.tensor([slow_convolution(read[c], row) for row in left]) - 0.05 for c in range(3)], 1
        ).relu()
    assert torch.allclose(z.unflatten(-1, (3, n)), codes, atol=1e-9)


def test_what_a_coordinate_writes_is_its_kernel_at_its_place():
    sae = FunctionDictionary(
        "s", read=draw(2, 4, 2), write=draw(2, 4, 2, seed=1), threshold=torch.zeros(2).double(),
        offset=torch.tensor(0.7).double(), points=12,
    )  # fmt: skip
    assert torch.allclose(sae.directions, sae.decode(torch.eye(24).double()) - 0.7, atol=1e-12)
    assert torch.allclose(sae.directions[12 + 5], sae.kernels[1].roll(5) / 12, atol=1e-12)


def test_a_smooth_function_has_the_same_code_on_every_grid():
    write = draw(2, 4, 2)
    write[:, 0, 1] = 0
    about = {"threshold": torch.zeros(2).double(), "offset": torch.zeros(()).double()}
    sae = FunctionDictionary("s", read=write, write=write, points=16, iterations=1, **about)
    t = torch.arange(48).double() / 48
    x = torch.cos(2 * math.pi * t) + 0.5 * torch.sin(4 * math.pi * t)
    fine, coarse = sae.at(48).encode(x[None])[0].view(2, 48), sae.encode(x[None, ::3])[0].view(2, 16)
    assert torch.allclose(fine[:, ::3], coarse, atol=1e-12)
    assert torch.allclose(sae.at(48).kernels[:, ::3], sae.kernels, atol=1e-12)
    local = FunctionDictionary("s", read=draw(2, 5), write=draw(2, 5, seed=1), points=16, **about)
    assert not torch.allclose(local.at(48).encode(x[None])[0].view(2, 48)[:, ::3], local.encode(x[None, ::3])[0].view(2, 16))


def bumps(n=400, points=32, seed=0):
    g = torch.Generator().manual_seed(seed)
    t = torch.remainder(torch.arange(points) / points + 0.5, 1) - 0.5
    kernels = torch.stack([torch.exp(-((t / 0.08) ** 2)), t * torch.exp(-((t / 0.08) ** 2))])
    kernels = kernels / kernels.norm(dim=1, keepdim=True)
    codes = (torch.rand(n, 2, points, generator=g) < 0.8 / points).float()
    return torch.fft.irfft((torch.fft.rfft(codes) * torch.fft.rfft(kernels)).sum(1), points), kernels


def test_planted_kernels_are_recovered():
    x, kernels = bumps()
    sae = sae_neural_operator(Recording.of(x, site="waves"), latents=4, modes=12, l1=0.15, steps=500)
    assert float(kernel_match(sae.kernels, kernels).min()) > 0.9
    assert torch.allclose(sae.kernels.square().mean(1), torch.ones(4), atol=1e-4)
    assert sae.metrics["fvu"] < 0.3


def test_match_is_over_shifts_and_not_over_signs():
    x = draw(3, 16)
    assert kernel_match(torch.stack([k.roll(i) for i, k in enumerate(x)]), x).tolist() == pytest.approx([1.0] * 3)
    slow = max(float(x[0] @ x[1].roll(s)) for s in range(16)) / float(x[0].norm() * x[1].norm())
    assert float(kernel_match(x[1:2], x[:1])) == pytest.approx(slow)
    with pytest.raises(ShapeError, match="grid"):
        kernel_match(x, draw(3, 8))


def test_lifting_leaves_the_class_of_dictionaries_as_it_is():
    """Lifted weights are summed over channels: the effective kernels are those of a plain formula."""
    g = torch.Generator().manual_seed(0)
    lifted, plain = Fourier(0.0, 1, 6, 4), Fourier(0.0, 1, 6)
    p = lifted.drawn(3, g)
    read, write = lifted.weights(p)
    flat = {"encoder": sum(p["lift"][h] * p["encoder"][h] for h in range(4)),
            "decoder": sum(p["project"][h] * p["decoder"][h] for h in range(4))}  # fmt: skip
    assert torch.allclose(plain.weights(flat)[0], read)
    assert torch.allclose(plain.weights(flat)[1], write)
    power = write.square().sum(-1)
    assert torch.allclose(power[:, 0] + 2 * power[:, 1:].sum(1), torch.ones(3))


def test_a_dictionary_of_functions_is_a_basis_like_others(tmp_path):
    x, _ = bumps(100)
    sae = convolutional_sae(Recording.of(x, site="waves"), latents=2, taps=7, steps=20)
    sae.save(tmp_path)
    again = load_basis(tmp_path)
    assert torch.equal(again.encode(x), sae.encode(x))
    assert again.fingerprint == sae.fingerprint
    with pytest.raises(ShapeError, match="32"):
        sae.encode(torch.zeros(1, 64))
    with pytest.raises(ShapeError, match="taps"):
        sae.at(5).encode(torch.zeros(1, 5))
    with pytest.raises(UsageError, match="points"):
        convolutional_sae(Recording.of(x, site="waves"), taps=33, steps=1)
