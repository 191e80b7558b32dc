"""Which heads and which source tokens drive a latent of a dictionary on attention outputs (Kissane et al. 2024).

The site ``blocks.l.attn.z`` is linear in the values of the source tokens, so a latent's pre-activation splits exactly.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError
from microtome.evidence import Finding, Null, Provenance, bootstrap
from microtome.method import Paper, method
from microtome.rng import torch_rng
from microtome.subject.basis import require_same

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
    latent : str
        Its name.
    subject : str
        Fingerprint.
    """

    parts: Tensor
    bias: float
    preactivation: Tensor
    latent: str = ""
    subject: str = ""

    def by_head(self) -> Tensor:
        """Tensor[n, head]: summed over sources."""
        return self.parts.sum(2)

    def by_source(self) -> Tensor:
        """Tensor[n, source]: summed over heads."""
        return self.parts.sum(1)

    def source_share(self, source: Tensor) -> Tensor:
        """Tensor[n]: how much of all that sources give, for or against, comes from each sample's own `source` [n]."""
        given = self.by_source().abs()
        chosen = given.gather(1, torch.as_tensor(source).reshape(-1, 1))[:, 0]
        return chosen / given.sum(1).clamp_min(torch.finfo(given.dtype).tiny)

    def finding(self, *, draws: int = 199, seed: int = 0) -> Finding:
        """Whether one head gives the latent its values: its mean share of what heads give, against heads permuted per sample.

        Raises
        ------
        Degenerate
            With fewer than two samples, or one head.
        """
        import pandas as pd

        given = self.by_head()
        if min(given.shape) < 2:
            raise Degenerate(f"two samples and two heads at least are needed, got {given.shape[0]} and {given.shape[1]}.")
        shares = given.abs() / given.abs().sum(1, keepdim=True).clamp_min(torch.finfo(given.dtype).tiny)
        head = int(shares.mean(0).argmax())
        g = torch_rng(seed, "decompose", "heads permuted")
        permuted = [shares.gather(1, torch.rand(shares.shape, generator=g).argsort(1)).mean(0).max() for _ in range(draws)]
        estimate = bootstrap(shares[:, head].numpy(), seed=seed)
        return Finding(
            f"Head {head} gives {self.latent or 'the latent'} its values.", estimate=estimate,
            nulls=(Null("heads permuted per sample", [float(x) for x in permuted], float(shares[:, head].mean())),),
            table=pd.DataFrame({"head": range(len(shares.T)), "share": shares.mean(0).numpy(), "given": given.mean(0).numpy()}),
            provenance=Provenance(subject=self.subject, seed=seed),
        )  # fmt: skip

    def __repr__(self) -> str:
        n, heads, sources = self.parts.shape
        return f"FeatureAttribution of {n} samples: {heads} heads, {sources} sources, bias {self.bias:.4g}"


@method(
    question="decompose",
    paper=Paper("Kissane et al.", 2024, "Interpreting Attention Layer Outputs with Sparse Autoencoders",
                "https://arxiv.org/abs/2406.17759"),
    needs=("subject", "tokens", "basis"),
    gives="FeatureAttribution",
    stochastic=False,
    cost="one forward; O(samples * heads * sources * d_head) for the split",
    claim="Latents of a dictionary on attention outputs come from few heads and from source tokens that make sense.",
    notion="decomposability",
    serves="informativeness",
    cannot_claim="Why a head looked where it looked: the pattern is held fixed.",
)  # fmt: skip
def direct_feature_attribution(
    subject: Any, inputs: Any, basis: Any, *, latent: int, position: int | Tensor = -1
) -> FeatureAttribution:
    """Split a latent's pre-activation at one position by head and by source token, exactly.

    ``w . z_t = sum_h sum_s A^h[t, s] (v^h_s . w_h)``, w the latent's encoder; values of grouped queries are shared.

    Parameters
    ----------
    subject : Subject
        Whose attention outputs the basis reads.
    inputs : Inputs or texts
        Samples, one token read in each.
    basis : SparseDictionary
        Of a site ``blocks.l.attn.z``; its rows are all heads side by side.
    latent : int
        Which one is split.
    position : int or Tensor[n]
        Counted inside each sample, from its end when negative; one for all samples, or one for each. Default -1, the last
        token.

    Returns
    -------
    FeatureAttribution
        ``parts`` [n, head, source], ``by_head()``, ``by_source()``, ``source_share(source)``, ``finding()``.

    Raises
    ------
    UsageError
        When the basis belongs to another kind of site, is not linear before its activation, or lacks the latent.
    SubjectMismatch
        When the basis was fitted on another subject.
    ShapeError
        When the basis does not have the width of all heads, or a sample is shorter than `position` asks.
    NonFinite
        When a value of a head is NaN or infinite.

    Notes
    -----
    Null: the same for a dictionary of the network with re-drawn weights, whose heads look everywhere alike.
    Misleads when the question is why a head looked there: the pattern is held fixed, queries and keys get no credit.

    Examples
    --------
    >>> import microtome as mt
    >>> from microtome.organisms.small import decoder
    >>> from microtome.decompose import SparseDictionary
    >>> subject = mt.Subject(decoder(11, layers=1, width=8, heads=2, context=6))
    >>> g = torch.Generator().manual_seed(0)
    >>> encoder = torch.randn(8, 3, generator=g)
    >>> basis = SparseDictionary("blocks.0.attn.z", W_enc=encoder, b_enc=torch.zeros(3), W_dec=encoder.T, b_dec=torch.zeros(8))
    >>> split = direct_feature_attribution(subject, torch.randint(11, (4, 6), generator=g), basis, latent=1)
    >>> split, bool(torch.allclose(split.parts.sum((1, 2)) + split.bias, split.preactivation, atol=1e-5))
    (FeatureAttribution of 4 samples: 2 heads, 6 sources, bias 0, True)

    References
    ----------
    Kissane et al. (2024). Interpreting Attention Layer Outputs with Sparse Autoencoders. https://arxiv.org/abs/2406.17759
    """
    weight, bias = _encoder(basis, latent)
    require_same(basis, site=basis.site, subject=subject.fingerprint())
    block = basis.site.removesuffix(SUFFIX)
    inputs = subject.inputs(inputs)
    run = subject.run(inputs, record=[f"{block}.attn.pattern", f"{block}.attn.v", basis.site], logits="none")
    query = _queries(inputs, position)
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
    if not bool(torch.isfinite(parts).all() & torch.isfinite(reached).all()):
        raise NonFinite(
            f"the attention of block '{block}' gives NaN or infinity on these inputs; look at the subject's weights."
        )
    name = basis.names[latent] if basis.names else f"latent {latent}"
    return FeatureAttribution(parts, bias, (reached * weight).sum((1, 2)) + bias, name, subject.fingerprint())


def _queries(inputs: Any, position: int | Tensor) -> Tensor:
    """The column of each sample's token."""
    start, stop = (torch.as_tensor(t) for t in (inputs.frame.start, inputs.frame.stop))
    wanted = torch.as_tensor(position)
    if wanted.ndim > 1 or (wanted.ndim == 1 and len(wanted) != len(start)) or wanted.is_floating_point():
        raise ShapeError(f"position is an int, or one int for each of {len(start)} samples, got shape {list(wanted.shape)}.")
    query = torch.where(wanted < 0, stop, start) + wanted
    if bool(((query < start) | (query >= stop)).any()):
        raise ShapeError(f"position {position} lies outside a sample; the shortest has {int((stop - start).min())} tokens.")
    return query


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
