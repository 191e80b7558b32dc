"""Llama and the decoders that share its layout: Mistral, Qwen 2 and Qwen 3.

Qwen 3 norms queries and keys after their projections; `attn.q` and `attn.k` are the projections' outputs.
"""

from microtome.subject.architecture import Architecture, Stack, common_dims
from microtome.subject.architectures._rows import attention
from microtome.subject.site import SiteSpec

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")
BLOCK = {
    "resid_pre": SiteSpec("", "input"),
    "attn.norm": SiteSpec("input_layernorm"),
    **attention("self_attn", PROJECTIONS, kv="kv_heads"),
    "resid_mid": SiteSpec("post_attention_layernorm", "input", carried=True),
    "mlp.norm": SiteSpec("post_attention_layernorm"),
    "mlp.pre": SiteSpec("mlp.gate_proj"),
    "mlp.up": SiteSpec("mlp.up_proj"),
    "mlp.hidden": SiteSpec("mlp.down_proj", "input"),
    "mlp.out": SiteSpec("mlp.down_proj"),
    "resid_post": SiteSpec(""),
}
SITES = {
    "embed": SiteSpec("embed_tokens"),
    "final_norm": SiteSpec("norm"),
    "logits": SiteSpec("/lm_head"),
}
ARCHITECTURES = (
    Architecture(
        name="llama",
        model_types=("llama", "mistral", "qwen2", "qwen3"),
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
