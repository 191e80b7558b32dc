"""What a head writes about a token when it attends to it: its OV circuit, read through the subject's own modules.

A vector is put at the residual stream before a block; the head's value of it goes through the head's part of the output
projection, the final norm and the unembedding. No prompt, no attention: ``logits_h(x) = W_U norm(W_O^h W_V^h norm_l(x))``.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from microtome.errors import NonFinite, SiteError
from microtome.subject.edit import Edit, ablate
from microtome.subject.inputs import Inputs
from microtome.trace.nodes import Node


def output_weights(subject: Any, block: int) -> Tensor:
    """The part of a block's output projection that belongs to each head [head, d_head, d_model].

    Raises
    ------
    SiteError
        When something other than the output projection stands between the heads and the residual stream.
    """
    z, out = subject.site(f"blocks.{block}.attn.z"), subject.site(f"blocks.{block}.attn.out")
    if z.module != out.module:
        raise SiteError(
            f"{z.name} and {out.name} belong to different modules ({z.module}, {out.module}): what a head writes passes a norm "
            "or scale after the projection and is not linear in the head. Patch the head instead (activation_patching)."
        )
    heads, width = z.shape
    project = subject.module.get_submodule(z.module)
    with torch.no_grad():
        eye = torch.eye(heads * width, dtype=subject.dtype, device=subject.device)
        rows = project(eye[None])[0] - project(torch.zeros_like(eye[None]))[0]
    return rows.unflatten(0, (heads, width))


def token_vectors(subject: Any, tokens: Sequence[int] | Tensor, through: str) -> Tensor:
    """What `through` holds [k, d] for single tokens without context: every attention up to it is switched off.

    ``through="embed"`` gives the embeddings, "blocks.0.mlp.out" what the first MLP makes of them.
    """
    ids = torch.as_tensor(tokens, dtype=torch.long, device=subject.device)[:, None]
    site = subject.site(through)
    last = -1 if site.block is None else site.block - site.name.endswith("resid_pre")
    silent = [ablate(f"blocks.{l}.attn.out", how="zero") for l in range(last + 1)]
    run = subject.run(Inputs({"input_ids": ids}), record=[site.name], edits=silent, logits="none")
    return run[site.name][:, 0]


def heads_after(subject: Any, through: str) -> list[Node]:
    """The heads of all blocks after the site `through`.

    Raises
    ------
    SiteError
        When there are none.
    """
    site = subject.site(through)
    first = 0 if site.block is None else site.block + (not site.name.endswith("resid_pre"))
    if not subject.trunks or subject.facts.heads == 0 or first >= subject.facts.blocks:
        raise SiteError(f"{subject.name} has no attention heads after {through}. Choose an earlier site, e.g. 'embed'.")
    return [Node(f"blocks.{l}.attn.z", head=h) for l in range(first, subject.facts.blocks) for h in range(subject.facts.heads)]


def ov_logits(subject: Any, vectors: Tensor, heads: Sequence[Node]) -> Tensor:
    """Logits [head, k, vocab] that each head alone writes when it attends to residual vectors [k, d].

    The norm of the head's block is applied to the vectors, the final norm to what the head writes. No bias of the output
    projection is added.

    Raises
    ------
    NonFinite
        When a weight of the subject, or a logit, is not a number.
    """
    bad = next((name for name, p in subject.module.named_parameters() if not bool(torch.isfinite(p).all())), None)
    if bad is not None:
        raise NonFinite(f"parameter '{bad}' of {subject.name} holds NaN or infinity; nothing can be read from such weights.")
    blocks = sorted({n.layer for n in heads})
    given = vectors[:, None]
    ids = torch.zeros(len(vectors), 1, dtype=torch.long, device=subject.device)
    edits = [Edit(f"blocks.{l}.resid_pre", "set", given) for l in blocks]
    run = subject.run(Inputs({"input_ids": ids}), record=[f"blocks.{l}.attn.v" for l in blocks], edits=edits, logits="none")
    written = {}
    for l in blocks:
        values = run[f"blocks.{l}.attn.v"][:, 0]
        values = values.repeat_interleave(subject.facts.heads // values.shape[1], dim=1)
        written[l] = torch.einsum("khd,hdm->hkm", values, output_weights(subject, l))
    logits = torch.stack([subject.unembed(written[n.layer][n.head]) for n in heads])
    if not bool(torch.isfinite(logits).all()):
        raise NonFinite("the logits that a head writes hold values that are not numbers.")
    return logits
