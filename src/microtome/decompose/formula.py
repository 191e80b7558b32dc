"""What distinguishes one sparse autoencoder from another: a `Formula`. The trainer knows no variant.

Parameters are a dict of tensors: ``encoder`` [latents, d] (rows, so that a latent's weights are contiguous), ``b_enc``,
``decoder`` [latents, d], ``b_dec``, and whatever a formula adds (a gate, a log threshold, a skip matrix).
Inputs have been scaled so that ``E ||x - mean x||^2 = d``. What is rebuilt, y, is x itself in an autoencoder.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from microtome.decompose.dictionary import SparseDictionary
    from microtome.decompose.ends import Ends

Parameters = dict[str, Tensor]


class Step(NamedTuple):
    """What one batch gives.

    Attributes
    ----------
    loss : Tensor[]
        To be minimised.
    error : Tensor[]
        ``sum ||y - y'||^2`` over the batch, without gradient.
    fired : LongTensor[latents]
        On how many rows each latent was active.
    """

    loss: Tensor
    error: Tensor
    fired: Tensor


@dataclass
class Progress:
    """Where training stands, as far as a formula may know.

    Attributes
    ----------
    step, steps : int
        Updates done so far and in all.
    silent : LongTensor[latents]
        Updates since each latent last fired.
    dead : LongTensor[n]
        Latents regarded as dead; refreshed every few steps, so that a GPU need not wait for it at each.
    dead_after : int
        Updates without firing after which a latent is dead.
    """

    steps: int
    silent: Tensor
    dead_after: int
    step: int = 0
    dead: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))

    def ramp(self, share: float) -> float:
        """0 -> 1 over the first `share` of training."""
        return min(1.0, (self.step + 1) / max(1.0, share * self.steps))

    def update(self, fired: Tensor) -> None:
        """Count one more step."""
        self.silent = torch.where(fired > 0, 0, self.silent + 1)
        self.step += 1
        if self.step % 10 == 0:
            self.dead = (self.silent >= self.dead_after).nonzero().flatten()


@dataclass(frozen=True)
class Formula:
    """Base of the variants. A subclass gives `loss` and `export`, and changes what differs from the defaults.

    Attributes
    ----------
    centred : bool
        Whether b_dec is taken from the input: in autoencoders, where input and output are one site. Elsewhere x and y
        come less their means, which go into the biases at the end.
    """

    centred: bool = field(default=True, kw_only=True)

    def inputs(self, p: Parameters, x: Tensor) -> Tensor:
        """What the encoder sees of x."""
        return x - p["b_dec"] if self.centred else x

    def output(self, p: Parameters, x: Tensor, decoded: Tensor) -> Tensor:
        """The rebuilt rows from the weighted sum of directions: bias, and the linear bypass where there is one."""
        out = decoded + p["b_dec"]
        return out + x @ p["skip"] if "skip" in p else out

    def start(self, directions: Tensor, mean: Tensor) -> Parameters:
        """Parameters to start from.

        Parameters
        ----------
        directions : Tensor[latents, d]
            Random unit rows.
        mean : Tensor[d]
            Mean of the (scaled) inputs.
        """
        zeros = directions.new_zeros(len(directions))
        return {"encoder": directions.clone(), "b_enc": zeros, "decoder": directions.clone(), "b_dec": mean.clone()}

    def begin(self, latents: int, ends: "Ends", like: Tensor, seed: int) -> Parameters:
        """First parameters in units of the scaled ends, in the precision and on the device of `like`.

        The encoder of another site reads at first what predicts best, linearly, how far the target goes along each
        direction; in an autoencoder that is the direction itself.
        """
        from microtome.decompose.fitting import random_rows

        mean = (ends.target.mean * ends.scale_out).to(like)
        directions = random_rows(latents, len(mean), seed, "start").to(like)
        p = self.start(directions, mean if self.centred else torch.zeros_like(mean))
        return p if ends.link is None else p | {"encoder": rows_to_unit(directions @ ends.link.to(like).T)}

    def loss(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress) -> Step:
        """The equation of the variant on one batch: inputs x[rows, d], and y[rows, d_out] to be rebuilt (x itself, or not)."""
        raise NotImplementedError

    def before_update(self, p: Parameters, progress: Progress) -> None:
        """Change gradients, e.g. project out a forbidden component."""

    def after_update(self, p: Parameters, x: Tensor, y: Tensor, progress: Progress, revive: Callable[..., None]) -> None:
        """Restore constraints; ``revive(rows={name: Tensor[latents, ...]}, latents)`` overwrites dead latents."""

    def export(self, p: Parameters) -> dict[str, Any]:
        """Arguments of `SparseDictionary`, in the units of the scaled input."""
        raise NotImplementedError

    def build(self, p: Parameters, ends: "Ends", name: str) -> "SparseDictionary":
        """The dictionary in the units of the recording."""
        from microtome.decompose.fitting import build

        bypass = {"W_skip": p["skip"]} if "skip" in p else {}
        return build(self.export(p) | bypass, ends, name)


def keep_off_radius(decoder: Tensor) -> None:
    """Remove from the decoder's gradient the part along each (unit) row, which renormalisation would undo.

    Left in, it would pollute Adam's moments.
    """
    if decoder.grad is not None:
        rows = decoder.detach()
        along = torch.bmm(decoder.grad[:, None], rows[:, :, None])[:, 0]  # row-wise dot products, without a copy
        decoder.grad.addcmul_(rows, along, value=-1)


def rows_to_unit(rows: Tensor) -> Tensor:
    """Each row divided by its norm; rows of zeros stay."""
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(rows.dtype).tiny)


@torch.no_grad()
def renormalise(decoder: Tensor) -> None:
    """Put every row back on the unit sphere, in place."""
    decoder.div_(torch.linalg.vector_norm(decoder, dim=1, keepdim=True).clamp_min(torch.finfo(decoder.dtype).tiny))
