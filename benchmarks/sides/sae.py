"""A sparse-autoencoder update: the product that no method can avoid, and a dense implementation of the whole update."""

from collections.abc import Callable

import numpy as np
import torch
from harness.work import Work
from torch import Tensor


def start(settings: dict) -> tuple[Tensor, Tensor]:
    """A batch [batch, d] and unit directions [latents, d]."""
    draw = np.random.default_rng(0)
    x = torch.from_numpy(draw.standard_normal((settings["batch"], settings["d"]), dtype=np.float32))
    directions = torch.from_numpy(draw.standard_normal((settings["latents"], settings["d"]), dtype=np.float32))
    return x, directions / directions.norm(dim=1, keepdim=True)


def planted(settings: dict, number: int) -> Tensor:
    """Batch `number` of sums of eight of `planted` unit directions, with coefficients between 1/2 and 3/2."""
    draw = np.random.default_rng([7, number])
    fixed = np.random.default_rng(7).standard_normal((settings["planted"], settings["d"]), dtype=np.float32)
    fixed /= np.linalg.norm(fixed, axis=1, keepdims=True)
    codes = np.zeros((settings["batch"], settings["planted"]), dtype=np.float32)
    chosen = draw.random(codes.shape, dtype=np.float32).argsort(1)[:, :8]
    np.put_along_axis(codes, chosen, draw.random(chosen.shape, dtype=np.float32) + 0.5, 1)
    return torch.from_numpy(codes @ fixed)


def left(settings: dict, rebuild: Callable[[Tensor], Tensor]) -> dict[str, np.ndarray]:
    """The share of the variance of a fresh batch that a dictionary leaves."""
    x = planted(settings, 10**6)
    with torch.no_grad():
        return {"fvu": np.array([float((x - rebuild(x)).square().sum() / (x - x.mean(0)).square().sum())])}


def first_reconstruction(x: Tensor, encoder: Tensor, b_enc, decoder: Tensor, b_dec: Tensor, k: int) -> np.ndarray:
    """What the parameters reconstruct of the first 16 rows before any update."""
    with torch.no_grad():
        pre = (x[:16] - b_dec) @ encoder + b_enc
        values, indices = pre.topk(k, -1)
        return (torch.zeros_like(pre).scatter(-1, indices, values.relu()) @ decoder + b_dec).numpy()


def encode_product(settings: dict) -> Work:
    """``x @ W_enc + b``: the dense product of the forward pass, alone."""
    x, directions = start(settings)
    bias = torch.zeros(len(directions))

    def call():
        with torch.no_grad():
            return torch.addmm(bias, x, directions.T)

    return Work(call, lambda _: {})


def dense(settings: dict) -> Work:
    """The update in plain PyTorch: dense codes, dense gradients, Adam, unit directions."""
    x, directions = start(settings)
    k = settings["k"]
    decoder, encoder = directions.clone().requires_grad_(), directions.T.clone().requires_grad_()
    b_enc, b_dec = torch.zeros(len(directions), requires_grad=True), x.mean(0).clone().requires_grad_()
    optimizer = torch.optim.Adam([decoder, encoder, b_enc, b_dec], lr=1e-4, fused=True)
    reached = {"reconstruction": first_reconstruction(x, encoder, b_enc, decoder, b_dec, k)}

    def call():
        optimizer.zero_grad()
        pre = (x - b_dec) @ encoder + b_enc
        values, indices = pre.topk(k, -1)
        codes = torch.zeros_like(pre).scatter(-1, indices, values.relu())
        loss = (x - codes @ decoder - b_dec).square().sum() / x.numel()
        loss.backward()
        with torch.no_grad():
            decoder.grad -= (decoder.grad * decoder).sum(1, keepdim=True) * decoder
        optimizer.step()
        with torch.no_grad():
            decoder.div_(decoder.norm(dim=1, keepdim=True))
        return True

    return Work(call, lambda _: reached)
