"""Mixtures of Gaussians under noise: samples, densities and the best denoiser, all known exactly."""

from dataclasses import dataclass

import torch
from torch import Tensor

from microtome.errors import ShapeError
from microtome.rng import torch_rng


@dataclass(frozen=True, eq=False)
class Mixture:
    """Equal Gaussians ``N(mean_k, variance I)``; a condition says which of them are possible.

    Attributes
    ----------
    means : Tensor[component, unit]
    variance : float

    Examples
    --------
    >>> two = Mixture(torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), 0.25)
    >>> x, component = two.draw(5, seed=0)
    >>> first = torch.tensor([[True, False]]).expand(5, 2)
    >>> bool((two.log_density(x) >= two.log_density(x, first) - 0.6932).all())
    True
    """

    means: Tensor
    variance: float

    def draw(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """Samples [n, unit] and their components [n]."""
        g = torch_rng(seed, "mixture")
        component = torch.randint(len(self.means), (n,), generator=g)
        noise = torch.randn(n, self.means.shape[1], generator=g, dtype=self.means.dtype)
        return self.means[component] + self.variance**0.5 * noise, component

    def log_density(self, x: Tensor, possible: Tensor | None = None) -> Tensor:
        """log p(x | condition) [n]; `possible` [n, component], default all."""
        log_p = self._log_weights(x, 1.0, self.variance, possible)
        return log_p.logsumexp(1) - 0.5 * x.shape[1] * torch.log(torch.tensor(2 * torch.pi * self.variance, dtype=x.dtype))

    def __call__(self, noisy: Tensor, log_snr: Tensor, possible: Tensor | None = None) -> Tensor:
        """The expected noise e of ``noisy = sqrt(s) x + sqrt(1 - s) e``, s the sigmoid of `log_snr` [n]."""
        if noisy.ndim != 2 or noisy.shape[1] != self.means.shape[1]:
            raise ShapeError(f"the mixture lives in {self.means.shape[1]} units, got samples {list(noisy.shape)}.")
        s = torch.sigmoid(log_snr)[:, None]
        spread = s * self.variance + 1 - s
        weights = self._log_weights(noisy, s.sqrt(), spread, possible).softmax(1)
        return (1 - s).sqrt() * (noisy - s.sqrt() * (weights @ self.means)) / spread

    def _log_weights(self, x: Tensor, shrink: Tensor | float, spread: Tensor | float, possible: Tensor | None) -> Tensor:
        means = shrink[..., None] * self.means if isinstance(shrink, Tensor) else shrink * self.means
        log_p = -0.5 * (x[:, None] - means).square().sum(-1) / spread
        allowed = torch.ones_like(log_p) if possible is None else possible.to(log_p)
        return log_p + (allowed / allowed.sum(1, keepdim=True)).log()
