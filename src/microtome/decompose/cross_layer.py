"""The cross-layer transcoder: latents of each layer write that layer's MLP output and all later ones."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.transcoding import Transcoder
from microtome.errors import ShapeError, UsageError
from microtome.subject.basis_stored import StoredBasis, check_width


class CrossLayerTranscoder(StoredBasis):
    """``f_l = JumpReLU(x_l W_enc^l + b_enc^l)``, ``y_m' = sum over l <= m of f_l W_dec^(l -> m) + b_dec^m``.

    Its vectors are those of the layers side by side: x of the sites `reads`, y of the sites `writes`; code i belongs to
    layer ``i // latents``. ``at(l, m)`` is the part from layer l to layer m, a `Transcoder` for edits.

    Parameters
    ----------
    site : str
        "a+b+..." of the sites read.
    reads, writes : sequence of str
        One site for each layer.
    W_enc, b_enc : Tensor[layers, d_in, latents], Tensor[layers, latents]
    W_dec : list of Tensor[latents, layers - l, d_out]
        For each layer l, to itself and the later ones.
    b_dec : Tensor[layers, d_out]
    threshold : Tensor[layers, latents], optional
        None: plain ReLU.
    """

    kind = "cross_layer_transcoder"
    directions = None

    def __init__(
        self, site: str, *, reads: Sequence[str], writes: Sequence[str], W_enc: Tensor, b_enc: Tensor,
        W_dec: Sequence[Tensor], b_dec: Tensor, threshold: Tensor | None = None,
        name: str = "cross_layer_transcoder", names: list[str] | None = None, subject: str = "",
    ) -> None:  # fmt: skip
        self.reads, self.writes = tuple(reads), tuple(writes)
        self.W_enc, self.b_enc, self.b_dec = (t.detach().contiguous() for t in (W_enc, b_enc, b_dec))
        self.W_dec = [t.detach().contiguous() for t in W_dec]
        self.threshold = None if threshold is None else threshold.detach().contiguous()
        layers, d, latents = self.W_enc.shape
        wanted = {"b_enc": ((layers, latents), b_enc), "b_dec": ((layers, b_dec.shape[-1]), b_dec)}
        wanted |= {f"W_dec[{l}]": ((latents, layers - l, b_dec.shape[-1]), t) for l, t in enumerate(self.W_dec)}
        wanted |= {} if threshold is None else {"threshold": ((layers, latents), threshold)}
        for what, (shape, tensor) in wanted.items():
            if tuple(tensor.shape) != shape:
                raise ShapeError(f"with W_enc {list(W_enc.shape)}, {what} must be {list(shape)}, got {list(tensor.shape)}.")
        if not len(self.reads) == len(self.writes) == len(self.W_dec) == layers:
            raise ShapeError(f"{layers} layers need as many sites to read and to write, got {self.reads} and {self.writes}.")
        self.layers, self.latents, self.width = layers, latents, layers * d
        super().__init__(site, name=name, names=names, subject=subject)

    @property
    def dim(self) -> int:
        return self.layers * self.latents

    def encode(self, x: Tensor) -> Tensor:
        """Codes of all layers [..., layers * latents] from inputs of all layers side by side."""
        check_width(x, self.width, f"cross-layer transcoder '{self.name}'")
        pre = torch.einsum("...ld,ldf->...lf", x.unflatten(-1, (self.layers, -1)), self.W_enc.to(x)) + self.b_enc.to(x)
        z = pre.relu() if self.threshold is None else torch.where(pre > self.threshold.to(x), pre.relu(), 0.0)
        return z.flatten(-2)

    def decode(self, z: Tensor) -> Tensor:
        """What all layers write [..., layers * d_out]."""
        check_width(z, self.dim, f"decode of '{self.name}'")
        return write_later(z.unflatten(-1, (self.layers, -1)), [t.to(z) for t in self.W_dec], self.b_dec.to(z)).flatten(-2)

    def __call__(self, x: Tensor) -> Tensor:
        """All written sites, predicted from all that are read."""
        return self.decode(self.encode(x))

    def at(self, source: int, target: int) -> Transcoder:
        """What the latents of layer `source` write at layer `target` >= `source`: a basis for edits there."""
        if not 0 <= source <= target < self.layers:
            raise UsageError(
                f"latents of layer {source} do not write at layer {target}: 0 <= source <= target < {self.layers}."
            )
        gate = {"activation": "relu"} if self.threshold is None else {"activation": "jumprelu"}
        return Transcoder(
            self.reads[source], writes=self.writes[target], W_enc=self.W_enc[source], b_enc=self.b_enc[source],
            W_dec=self.W_dec[source][:, target - source], b_dec=self.b_dec[target],
            threshold=None if self.threshold is None else self.threshold[source], **gate,
            name=f"{self.name}.{source}-{target}", subject=self.subject,
        )  # fmt: skip

    def parts(self, source: int) -> list[Transcoder]:
        """`at` of one layer's latents for each layer that they write; an edit of a latent is one edit through each."""
        return [self.at(source, target) for target in range(source, self.layers)]

    def tensors(self) -> dict[str, Tensor]:
        out = {"W_enc": self.W_enc, "b_enc": self.b_enc, "b_dec": self.b_dec}
        out |= {f"W_dec_{l}": t for l, t in enumerate(self.W_dec)}
        return out if self.threshold is None else out | {"threshold": self.threshold}

    def config(self) -> dict[str, Any]:
        return {"reads": list(self.reads), "writes": list(self.writes)}

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], config: dict[str, Any], **about: Any) -> "CrossLayerTranscoder":
        W_dec = [tensors[f"W_dec_{l}"] for l in range(len(config["reads"]))]
        rest = {name: t for name, t in tensors.items() if not name.startswith("W_dec_")}
        return cls(about.pop("site"), W_dec=W_dec, **rest, **config, **about)


def write_later(z: Tensor, W_dec: Sequence[Tensor], b_dec: Tensor) -> Tensor:
    """``y_m = sum over l <= m of z_l W_dec^(l -> m) + b_m`` for z[..., layers, latents]: Tensor[..., layers, d_out]."""
    layers, d = b_dec.shape
    written = [(z[..., l, :] @ table.flatten(1)).unflatten(-1, (layers - l, d)) for l, table in enumerate(W_dec)]
    return torch.stack([sum(written[l][..., m - l, :] for l in range(m + 1)) for m in range(layers)], -2) + b_dec  # type: ignore
