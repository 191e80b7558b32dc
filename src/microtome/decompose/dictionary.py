"""The sparse dictionary: the one noun that every sparse autoencoder of this room returns."""

from typing import Any

import torch
from torch import Tensor

from microtome.decompose.sparse import Support, sparse_decode
from microtome.errors import ShapeError, UsageError, nearest
from microtome.subject.basis import StoredBasis, check_width

#: relu: pre > 0. topk: the k largest of a row, if positive. jumprelu and batchtopk: pre > threshold and pre > 0.
ACTIVATIONS = ("relu", "topk", "batchtopk", "jumprelu")


class SparseDictionary(StoredBasis):
    """An encoder, a gate and a dictionary of directions.

    ``pre = (x - b_dec) W_enc + b_enc``, ``z = pre where the activation lets it through, else 0``,
    ``x' = z W_dec + b_dec``.

    Parameters
    ----------
    site : str
        Where the coordinates live.
    W_enc, b_enc : Tensor[d, latents], Tensor[latents]
        Encoder.
    W_dec, b_dec : Tensor[latents, d], Tensor[d]
        Dictionary directions (rows) and the bias of the output.
    activation : {"relu", "topk", "batchtopk", "jumprelu"}
        Which latents are let through.
    k : int, optional
        Active latents per row, for "topk" (and, as information, for "batchtopk").
    threshold : Tensor[latents] or Tensor[], optional
        For "jumprelu" and "batchtopk".
    centred : bool
        Whether b_dec is subtracted from the input (the usual autoencoder) or not (Gemma Scope, transcoders).
    """

    kind = "sparse_dictionary"
    #: Whether it writes the site that it reads (a transcoder does not).
    square = True

    def __init__(
        self, site: str, *, W_enc: Tensor, b_enc: Tensor,
        W_dec: Tensor, b_dec: Tensor, activation: str = "relu", k: int | None = None,
        threshold: Tensor | None = None, centred: bool = True,
        name: str = "dictionary", names: list[str] | None = None, subject: str = "",
    ) -> None:  # fmt: skip
        _check_parts(W_enc, b_enc, W_dec, b_dec, activation, k, threshold, self.square)
        # Contiguous, as a saved copy is: matrix products depend on the memory layout in their last bits.
        parts = (t.detach().contiguous() for t in (W_enc, b_enc, W_dec, b_dec))
        self.W_enc, self.b_enc, self.W_dec, self.b_dec = parts
        self.activation, self.k, self.centred = activation, k, centred
        self.threshold = None if threshold is None else threshold.detach().expand(W_enc.shape[1]).contiguous()
        self.width = W_enc.shape[0]
        super().__init__(site, name=name, names=names, subject=subject)

    @property
    def dim(self) -> int:
        return self.W_enc.shape[1]

    @property
    def directions(self) -> Tensor:
        return self.W_dec

    def preactivations(self, x: Tensor) -> Tensor:
        """``(x - b_dec) W_enc + b_enc``, before any latent is closed."""
        check_width(x, self.width, f"dictionary '{self.name}' at '{self.site}'")
        inputs = x - self.b_dec.to(x) if self.centred else x
        return inputs @ self.W_enc.to(x) + self.b_enc.to(x)

    def encode(self, x: Tensor) -> Tensor:
        """The codes, dense."""
        pre = self.preactivations(x)
        if self.activation == "topk":
            values, indices = pre.topk(self.k, dim=-1, sorted=False)
            return torch.zeros_like(pre).scatter(-1, indices, values.relu())
        if self.threshold is None:
            return pre.relu()
        return torch.where(pre > self.threshold.to(x), pre.relu(), 0.0)

    def encode_sparse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The codes as (indices, values), largest first; rows with fewer active latents are padded with value 0."""
        z = self.preactivations(x) if self.activation == "topk" else self.encode(x)
        width = self.k if self.activation == "topk" else max(int((z != 0).sum(-1).max()), 1) if z.numel() else 1
        values, indices = z.topk(width, dim=-1)
        return indices, values.relu()

    def decode(self, z: Tensor) -> Tensor:
        check_width(z, self.dim, f"decode of dictionary '{self.name}'")
        return z @ self.W_dec.to(z) + self.b_dec.to(z)

    def decode_sparse(self, indices: Tensor, values: Tensor) -> Tensor:
        """``decode`` of a code given as (indices, values): O(active * d) per row."""
        flat = values.reshape(-1, values.shape[-1])
        support = Support.fixed(indices.reshape(flat.shape), self.dim)
        out = sparse_decode(support, flat.reshape(-1), self.W_dec.to(values))
        return out.reshape(*values.shape[:-1], out.shape[-1]) + self.b_dec.to(values)

    def __call__(self, x: Tensor) -> Tensor:
        """What is rebuilt from x."""
        if self.activation == "topk" and x.numel():
            return self.decode_sparse(*self.encode_sparse(x))
        return self.decode(self.encode(x))

    def unit_norm(self) -> "SparseDictionary":
        """The same function with unit directions, so that codes are in units of the site's norm.

        The norms move into the encoder (and thresholds): exact for every activation whose gate looks at one latent at
        a time; refused for "topk", where it would change which latents win.
        """
        norms = self.W_dec.norm(dim=1).clamp_min(torch.finfo(self.W_dec.dtype).tiny)
        if self.activation == "topk" and not torch.allclose(norms, torch.ones_like(norms), rtol=1e-4):
            raise UsageError("unit directions would change which latents are the k largest; keep the norms.")
        parts = self.tensors() | {"W_enc": self.W_enc * norms, "b_enc": self.b_enc * norms}
        parts["W_dec"] = self.W_dec / norms[:, None]
        if self.threshold is not None:
            parts["threshold"] = self.threshold * norms
        about = {"site": self.site, "name": self.name, "names": self.names, "subject": self.subject}
        out = self.from_parts(parts, self.config(), **about)
        out.metrics, out.history = dict(self.metrics), dict(self.history)
        return out

    def tensors(self) -> dict[str, Tensor]:
        parts = {"W_enc": self.W_enc, "b_enc": self.b_enc, "W_dec": self.W_dec, "b_dec": self.b_dec}
        return parts if self.threshold is None else parts | {"threshold": self.threshold}

    def config(self) -> dict[str, Any]:
        return {"activation": self.activation, "k": self.k, "centred": self.centred}

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], config: dict[str, Any], **about: Any) -> "SparseDictionary":
        return cls(about.pop("site"), **tensors, **config, **about)


def _check_parts(W_enc, b_enc, W_dec, b_dec, activation, k, threshold, square) -> None:
    """Refuse parts that do not fit each other."""
    if activation not in ACTIVATIONS:
        near = nearest(str(activation), ACTIVATIONS)
        raise UsageError(f"unknown activation {activation!r}.{near} Known: {', '.join(ACTIVATIONS)}.")
    if W_enc.ndim != 2:
        raise ShapeError(f"W_enc must be [d, latents], got shape {tuple(W_enc.shape)}.")
    d, latents = W_enc.shape
    out = d if square or W_dec.ndim != 2 else W_dec.shape[1]
    wanted = {"b_enc": (latents,), "W_dec": (latents, out), "b_dec": (out,)}
    for name, tensor in {"b_enc": b_enc, "W_dec": W_dec, "b_dec": b_dec}.items():
        if tuple(tensor.shape) != wanted[name]:
            hint = " It looks transposed." if tuple(tensor.shape) == wanted[name][::-1] and tensor.ndim == 2 else ""
            raise ShapeError(
                f"with W_enc [{d}, {latents}], {name} must be {list(wanted[name])}, got {list(tensor.shape)}.{hint}"
            )
    if activation == "topk" and (not isinstance(k, int) or not 1 <= k <= latents):
        raise UsageError(f"a topk dictionary of {latents} latents needs 1 <= k <= {latents}, got {k!r}.")
    if activation in ("jumprelu", "batchtopk"):
        if threshold is None or tuple(threshold.shape) not in ((), (latents,)):
            found = None if threshold is None else list(threshold.shape)
            raise ShapeError(f"a {activation} dictionary needs threshold [{latents}] or a scalar, got {found}.")
    elif threshold is not None:
        raise UsageError(f"a threshold was given, but activation '{activation}' has none; use 'jumprelu'.")
