"""Which heads and which source tokens drive a latent of a dictionary on attention outputs (Kissane et al. 2024).

The site ``blocks.l.attn.z`` is linear in the values of the source tokens, so a latent's pre-activation splits exactly.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError

SUFFIX = ".attn.z"


@dataclass(frozen=True, eq=False)
class FeatureAttribution:
    """The parts of a latent's pre-activation: ``parts.sum((1, 2)) + bias == preactivation``.

    Attributes
    ----------
    parts : Tensor[n, head, source]
        ``A^h[t, s] (v^h_s . w_h)``; 0 for sources outside a sample.
    bias : float
        What no token contributes: the encoder's bias, less what b_dec takes away.
    preactivation : Tensor[n]
        Of the latent, at the position asked.
    """

    parts: Tensor
    bias: float
    preactivation: Tensor

    def by_head(self) -> Tensor:
        """Tensor[n, head]: summed over sources."""
        return self.parts.sum(2)

    def by_source(self) -> Tensor:
        """Tensor[n, source]: summed over heads."""
        return self.parts.sum(1)

    def __repr__(self) -> str:
        n, heads, sources = self.parts.shape
        return f"FeatureAttribution of {n} samples: {heads} heads, {sources} sources, bias {self.bias:.4g}"


def direct_feature_attribution(subject: Any, inputs: Any, basis: Any, latent: int, *, position: int = -1) -> FeatureAttribution:
    """Split a latent's pre-activation at one position by head and by source token, exactly.

    ``w . z_t = sum_h sum_s A^h[t, s] (v^h_s . w_h)``, w the latent's encoder; values of grouped queries are shared.

    Parameters
    ----------
    subject : Subject
    inputs : Inputs or texts
    basis : SparseDictionary
        Of a site ``blocks.l.attn.z``; its rows are all heads side by side.
    latent : int
    position : int
        Counted inside each sample, from its end when negative. Default -1, the last token.

    Raises
    ------
    UsageError
        When the basis belongs to another kind of site, is not linear before its activation, or lacks the latent.
    ShapeError
        When the basis does not have the width of all heads, or a sample is shorter than `position` asks.

    Notes
    -----
    Null: the same for a dictionary of the network with re-drawn weights.
    Misleads when the question is why a head looked there: the pattern is held fixed, queries and keys get no credit.

    References
    ----------
    Kissane et al. (2024). Interpreting Attention Layer Outputs with Sparse Autoencoders. https://arxiv.org/abs/2406.17759
    """
    weight, bias = _encoder(basis, latent)
    block = basis.site.removesuffix(SUFFIX)
    inputs = subject.inputs(inputs)
    run = subject.run(inputs, record=[f"{block}.attn.pattern", f"{block}.attn.v", basis.site], logits="none")
    start, stop = (torch.as_tensor(t) for t in (inputs.frame.start, inputs.frame.stop))
    query = stop + position if position < 0 else start + position
    if bool(((query < start) | (query >= stop)).any()):
        raise ShapeError(f"position {position} lies outside a sample; the shortest has {int((stop - start).min())} tokens.")
    rows = torch.arange(len(query))
    pattern = run[f"{block}.attn.pattern"][rows, :, query].double()  # [n, head, source]
    values, z = run[f"{block}.attn.v"].double(), run[basis.site].double()
    heads = pattern.shape[1]
    values = values.repeat_interleave(heads // values.shape[2], dim=2)
    if weight.numel() != heads * values.shape[3]:
        raise ShapeError(f"the basis reads {weight.numel()} units, '{basis.site}' has {heads} heads of {values.shape[3]}.")
    weight = weight.to(values).reshape(heads, -1)
    parts = pattern * torch.einsum("nshd,hd->nhs", values, weight)
    reached = z[rows, query].reshape(len(query), heads, -1)
    return FeatureAttribution(parts, bias, (reached * weight).sum((1, 2)) + bias)


def head_shares(basis: Any, heads: int) -> Tensor:
    """Share of each head in what each latent writes, [latents, heads]: ``||W_dec[i, h]|| / sum_h' ||W_dec[i, h']||``.

    >>> from microtome.subject.basis import Identity
    >>> head_shares(Identity("blocks.0.attn.z", 4), 2)[0].tolist()
    [1.0, 0.0]
    """
    directions = basis.directions
    if heads < 1 or directions.shape[1] % heads:
        raise ShapeError(f"{directions.shape[1]} units are not {heads} heads side by side.")
    norms = directions.reshape(len(directions), heads, -1).norm(dim=2)
    return norms / norms.sum(1, keepdim=True).clamp_min(torch.finfo(norms.dtype).tiny)


def _encoder(basis: Any, latent: int) -> tuple[Tensor, float]:
    """The latent's encoder and the constant part of its pre-activation."""
    if not basis.site.endswith(SUFFIX):
        raise UsageError(f"the split needs a basis of 'blocks.N{SUFFIX}', this one belongs to '{basis.site}'.")
    if not hasattr(basis, "W_enc") or getattr(basis, "kind", "") != "sparse_dictionary":
        raise UsageError(f"'{basis.name}' is not linear before its activation; give a sparse dictionary.")
    if not 0 <= latent < basis.dim:
        raise UsageError(f"latent must be 0..{basis.dim - 1}, got {latent}.")
    weight = basis.W_enc[:, latent].double()
    shift = float(basis.b_dec.double() @ weight) if basis.centred else 0.0
    return weight, float(basis.b_enc[latent]) - shift
