"""Phi-3: the Llama layout with fused query-key-value (grouped) and fused gate and up projections."""

from microtome.subject.architecture import Architecture, Stack, common_dims
from microtome.subject.architectures.llama import SITES
from microtome.subject.site import SiteSpec

BLOCK = {
    "resid_pre": SiteSpec("", "input"),
    "attn.norm": SiteSpec("input_layernorm"),
    "attn.q": SiteSpec("self_attn.qkv_proj", heads="heads", layout="qkv", part=0),
    "attn.k": SiteSpec("self_attn.qkv_proj", heads="kv_heads", layout="qkv", part=1),
    "attn.v": SiteSpec("self_attn.qkv_proj", heads="kv_heads", layout="qkv", part=2),
    "attn.pattern": SiteSpec("self_attn", "pattern"),
    "attn.z": SiteSpec("self_attn.o_proj", "input", heads="heads"),
    "attn.out": SiteSpec("self_attn.o_proj"),
    "resid_mid": SiteSpec("post_attention_layernorm", "input", carried=True),
    "mlp.norm": SiteSpec("post_attention_layernorm"),
    "mlp.pre": SiteSpec("mlp.gate_up_proj", layout="halves", part=0),
    "mlp.up": SiteSpec("mlp.gate_up_proj", layout="halves", part=1),
    "mlp.hidden": SiteSpec("mlp.down_proj", "input"),
    "mlp.out": SiteSpec("mlp.down_proj"),
    "resid_post": SiteSpec(""),
}
ARCHITECTURES = (
    Architecture(
        name="phi3",
        model_types=("phi3",),
        prefixes=("model.", ""),
        stacks=(
            Stack(
                blocks="layers",
                block_sites=BLOCK,
                sites=SITES,
                dims=common_dims,
                final_norm="norm",
                head="/lm_head",
            ),
        ),
    ),
)
