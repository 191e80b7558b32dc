"""Other people's names for the same sites: TransformerLens hook names."""

import re

#: TransformerLens name inside a block -> canonical name inside a block.
_BLOCK = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_in": "resid_pre",
    "hook_out": "resid_post",
    "hook_attn_out": "attn.out",
    "hook_mlp_out": "mlp.out",
    "attn.hook_q": "attn.q",
    "attn.hook_k": "attn.k",
    "attn.hook_v": "attn.v",
    "attn.hook_z": "attn.z",
    "attn.hook_pattern": "attn.pattern",
    "mlp.hook_pre": "mlp.pre",
    "mlp.hook_post": "mlp.hidden",
    "ln1.hook_normalized": "attn.norm",
    "ln2.hook_normalized": "mlp.norm",
}
_OUTSIDE = {"hook_embed": "embed", "ln_final.hook_normalized": "final_norm", "unembed": "logits"}


def canonical(name: str) -> str:
    """The canonical form of a TransformerLens hook name; any other name as it is.

    >>> canonical("blocks.3.attn.hook_z"), canonical("blocks.0.mlp.out")
    ('blocks.3.attn.z', 'blocks.0.mlp.out')
    """
    match = re.fullmatch(r"((?:\w+\.)?blocks\.\d+)\.(.+)", name)
    if match and match[2] in _BLOCK:
        return f"{match[1]}.{_BLOCK[match[2]]}"
    return _OUTSIDE.get(name, name)
