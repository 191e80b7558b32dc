"""A sparse-autoencoder update: the product that no method can avoid, and a dense implementation of the whole update."""

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
