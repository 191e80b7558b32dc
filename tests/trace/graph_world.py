"""Small random networks with random transcoders, for the tests of attribution graphs."""

import torch

from microtome.decompose.transcoding import Transcoder
from microtome.organisms.small import decoder
from microtome.rng import torch_rng
from microtome.subject.subject import Subject

WORDS, WIDTH, LATENTS, LAYERS = 30, 24, 40, 3


def network(family: str, seed: int = 0) -> Subject:
    """Three blocks with every weight and bias drawn, so that no constant is 0."""
    module = decoder(WORDS, layers=LAYERS, heads=4, width=WIDTH, context=32, family=family, seed=seed)
    g = torch_rng(seed, "graph world")
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn(p.shape, generator=g) * (0.1 if p.ndim == 1 else 0.05))
    return Subject(module, name=family)


def coder(reads: str, writes: str, seed: int, latents: int = LATENTS, skip: bool = False) -> Transcoder:
    """A random ReLU transcoder."""
    g = torch_rng(seed, "coder")

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    return Transcoder(
        reads, writes=writes, W_enc=draw(WIDTH, latents) / WIDTH**0.5, b_enc=0.1 * draw(latents) - 0.3,
        W_dec=draw(latents, WIDTH) / latents**0.5, b_dec=0.1 * draw(WIDTH), W_skip=0.1 * draw(WIDTH, WIDTH) if skip else None,
    )  # fmt: skip


def coders(family: str, layers: tuple[int, ...] = (0, 1, 2), skip: bool = False) -> list[Transcoder]:
    """One for each MLP."""
    read = "resid_mid" if family == "plain" else "mlp.norm"
    return [coder(f"blocks.{b}.{read}", f"blocks.{b}.mlp.out", b, skip=skip) for b in layers]


def prompt(length: int = 7, seed: int = 0) -> torch.Tensor:
    """Token ids [length]."""
    return torch.randint(0, WORDS, (length,), generator=torch_rng(seed, "graph prompt"))
