"""Sparse autoencoders on functions: kernels as Fourier multipliers (a neural operator), or as local convolutions."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.decompose.data import one_site
from microtome.decompose.formula import Formula, Parameters, Progress, Step
from microtome.decompose.functions import FunctionDictionary, decode_functions, encode_functions, local_spectrum, spectrum
from microtome.decompose.train import train
from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.rng import torch_rng

if TYPE_CHECKING:
    from microtome.decompose.ends import Ends


@dataclass(frozen=True)
class Functional(Formula):
    """``L = mean (x - x')^2 + l1 int sum_c z_c``, means over rows and over the circle; kernels of norm 1.

    Attributes
    ----------
    l1 : float
        Reached over the first 5% of training.
    iterations : int
        Of the encoder.
    """

    l1: float
    iterations: int

    def weights(self, p: Parameters) -> tuple[Tensor, Tensor]:
        """L and D, the kernels of D with norm 1."""
        raise NotImplementedError

    def spectra(self, p: Parameters, points: int) -> tuple[Tensor, Tensor]:
        """Their multipliers on a grid."""
        raise NotImplementedError

    def loss(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress) -> Step:
        read, write = self.spectra(p, x.shape[1])
        z = encode_functions(x - p["offset"], read, write, p["threshold"], self.iterations)
        residual = y - p["offset"] - decode_functions(z, write)
        error = residual.square().sum()
        penalty = z.sum() / (x.shape[1] * len(x))
        return Step(error / x.numel() + self.l1 * progress.ramp(0.05) * penalty, error.detach(), (z > 0).any(-1).sum(0))

    def begin(self, latents: int, ends: "Ends", like: Tensor, seed: int) -> Parameters:
        p = {name: value.to(like) for name, value in self.drawn(latents, torch_rng(seed, "decompose", "functions")).items()}
        _, write = self.spectra(p, ends.source.width)
        step = 1 / write.abs().square().sum(0).max()  # the largest with which matched filters never overshoot
        start = {"threshold": torch.zeros(latents).to(like), "offset": (ends.target.mean * ends.scale_out).mean().to(like)}
        return p | start | {"encoder": step * p["encoder"]}

    def drawn(self, latents: int, g: torch.Generator) -> Parameters:
        """First weights: random kernels, read by their matched filters."""
        raise NotImplementedError

    def build(self, p: Parameters, ends: "Ends", name: str) -> FunctionDictionary:  # pyright: ignore[reportIncompatibleMethodOverride]
        read, write = self.weights(p)
        scale = float(ends.scale_out[0])
        return FunctionDictionary(
            ends.source.site, read=read, write=write, threshold=p["threshold"] / scale, offset=p["offset"] / scale,
            points=ends.source.width, iterations=self.iterations, name=name, subject=ends.source.subject,
        )  # fmt: skip


@dataclass(frozen=True)
class Fourier(Functional):
    """Kernels as the coefficients of their lowest modes; with `lift`, read and written through a space of that many channels.

    Attributes
    ----------
    modes, lift : int
        ``lift`` 0: none.
    """

    modes: int
    lift: int = 0

    def weights(self, p: Parameters) -> tuple[Tensor, Tensor]:
        read, write = p["encoder"], p["decoder"]
        if self.lift:
            read, write = (torch.einsum("h,hcmr->cmr", p[name], w) for name, w in (("lift", read), ("project", write)))
        power = write.square().sum(-1)
        size = (power[:, 0] + 2 * power[:, 1:].sum(1)).sqrt()
        return read, write / size[:, None, None].clamp_min(torch.finfo(write.dtype).tiny)

    def spectra(self, p: Parameters, points: int) -> tuple[Tensor, Tensor]:
        read, write = self.weights(p)
        return spectrum(read, points), spectrum(write, points)

    def drawn(self, latents: int, g: torch.Generator) -> Parameters:
        shape = (*([self.lift] if self.lift else []), latents, self.modes, 2)
        write = torch.randn(shape, generator=g)
        write[..., 0, 1] = 0.0  # the mean of a real function is real
        plain = write.sum(0) if self.lift else write
        write = write / (plain.square().sum((1, 2), keepdim=True) * 2).sqrt()
        start = {"encoder": write * torch.tensor([1.0, -1.0]), "decoder": write}
        if not self.lift:
            return start
        return start | {"lift": torch.ones(self.lift), "project": torch.ones(self.lift)}


@dataclass(frozen=True)
class Local(Functional):
    """Kernels as taps on the points of the grid, with the norm that functions have: codes mean the same as an operator's.

    Attributes
    ----------
    taps, points : int
    """

    taps: int
    points: int

    def weights(self, p: Parameters) -> tuple[Tensor, Tensor]:
        size = p["decoder"].norm(dim=1, keepdim=True) * self.points**0.5
        return p["encoder"], p["decoder"] / size.clamp_min(torch.finfo(size.dtype).tiny)

    def spectra(self, p: Parameters, points: int) -> tuple[Tensor, Tensor]:
        read, write = self.weights(p)
        return local_spectrum(read, points), local_spectrum(write, points)

    def drawn(self, latents: int, g: torch.Generator) -> Parameters:
        write = torch.nn.functional.normalize(torch.randn(latents, self.taps, generator=g), dim=1)
        return {"encoder": write.flip(1) / self.points**0.5, "decoder": write}


@method(
    question="decompose",
    paper=Paper(
        "Tolooshams, Shen, Anandkumar", 2025, "Sparse Autoencoder Neural Operators: Model Recovery in Function Spaces",
        "https://arxiv.org/abs/2509.03738",
    ),
    needs=("recording",),
    gives="Basis",
    stochastic=True,
    cost="O(steps * batch * latents * iterations * points log points)",
    claim="Kernels kept as Fourier coefficients recover smooth concepts and reconstruct equally well on any grid.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="Anything of features above the highest mode; and kernels are known up to a shift.",
    tiny={"latents": 4, "modes": 12, "iterations": 3, "l1": 0.1, "steps": 500},
)  # fmt: skip
def sae_neural_operator(
    recording: Any, *, latents: int = 8, modes: int = 12, lift: int = 0, iterations: int = 3, l1: float = 0.05,
    steps: int = 1000, batch: int = 64, seed: int = 0,
) -> FunctionDictionary:  # fmt: skip
    """Fit a sparse dictionary of functions whose kernels are their lowest Fourier coefficients.

    ``x(t) = sum_c int D_c(t - s) z_c(s) ds``, ``z <- ReLU(z + L * (x - D * z) - threshold)`` from z = 0; minimises
    ``int (x - x')^2 + l1 int sum_c z_c``. The coefficients belong to no grid: `FunctionDictionary.at` puts the same dictionary
    on another.

    Parameters
    ----------
    recording : Recording
        One site, ``[rows, points]``: functions on the circle, at equal steps. Pad what is not periodic.
    latents : int
        Kernels. Default 8.
    modes : int
        Coefficients of a kernel, the mean included; at most half the points. Default 12.
    lift : int
        Channels of a pointwise linear lifting and projection around the operator; 0 (default): none. It leaves what can be
        expressed as it is, and changes the steps of training.
    iterations : int
        Of the unrolled encoder. Default 3. Paper: one and several.
    l1 : float
        Weight of the integral of the codes, on functions scaled to a variance of 1 at every point. Default 0.05.
    steps, batch : int
        Updates, and functions per update. Default 1000 of 64.
    seed : int
        Start and order of batches. Default 0.

    Returns
    -------
    FunctionDictionary
        `kernels` (of norm 1), `at`; `metrics` (fvu, l0, dead, shrinkage) count every point of every code.

    Raises
    ------
    UsageError
        When a size is below 1, l1 is negative, or there are more modes than the grid holds.
    NonFinite
        When the recording holds NaN or infinity, or training diverges.
    Degenerate
        When the rows do not vary.

    Notes
    -----
    Null: on points permuted one by one there are no kernels, and what is found matches true ones as random kernels of as few
    modes do, which is far from 0.
    Misleads when kernels are compared point by point: they are known up to a shift (`functions.kernel_match`).

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.recording import Recording
    >>> t = torch.arange(32) / 32
    >>> shift = torch.rand(100, 1, generator=torch.Generator().manual_seed(0))
    >>> x = torch.exp(-((t - shift + 0.5) % 1 - 0.5) ** 2 / 0.01)
    >>> sae = sae_neural_operator(Recording.of(x, site="waves"), latents=2, modes=6, steps=20)
    >>> sae.encode(x).shape, sae.at(64).decode(sae.at(64).encode(torch.zeros(1, 64))).shape
    (torch.Size([100, 64]), torch.Size([1, 64]))

    References
    ----------
    Tolooshams, Shen, Anandkumar (2025). Sparse Autoencoder Neural Operators: Model Recovery in Function Spaces.
    https://arxiv.org/abs/2509.03738
    """
    _sizes(l1, iterations=iterations, modes=modes)
    if isinstance(lift, bool) or not isinstance(lift, int) or lift < 0:
        raise UsageError(f"lift must be a whole number >= 0, got {lift!r}.")
    _points(recording, 2 * modes)
    formula = Fourier(l1, iterations, modes, lift)
    return train(recording, formula, latents=latents, steps=steps, batch=batch, seed=seed, name="sae_neural_operator")


def convolutional_sae(
    recording: Any, *, latents: int = 8, taps: int = 15, iterations: int = 3, l1: float = 0.05, steps: int = 1000,
    batch: int = 64, seed: int = 0,
) -> FunctionDictionary:  # fmt: skip
    """The same dictionary with kernels of `taps` values on the points of the grid: the baseline of `sae_neural_operator`.

    On a finer grid (`FunctionDictionary.at`) its kernels shrink with the spacing.
    """
    _sizes(l1, iterations=iterations, taps=taps)
    formula = Local(l1, iterations, taps, _points(recording, taps))
    return train(recording, formula, latents=latents, steps=steps, batch=batch, seed=seed, name="convolutional_sae")


def _sizes(l1: float, **sizes: int) -> None:
    if not l1 >= 0:
        raise UsageError(f"l1 must be a number >= 0, got {l1!r}.")
    for label, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{label} must be a whole number >= 1, got {value!r}.")


def _points(recording: Any, needed: int) -> int:
    """Points of the grid, if kernels that need some fit on it."""
    points = recording[one_site(recording)[0]].matrix().shape[1]
    if needed > points:
        raise UsageError(f"kernels that need {needed} points do not fit functions on {points}; ask for fewer modes or taps.")
    return points
