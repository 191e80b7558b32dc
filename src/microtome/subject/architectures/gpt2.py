"""GPT-2: learned positions, fused query-key-value, biases everywhere."""

from microtome.subject.architecture import Architecture, Stack, common_dims
from microtome.subject.site import SiteSpec

BLOCK = {
    "resid_pre": SiteSpec("", "input"),
    "attn.norm": SiteSpec("ln_1"),
    "attn.q": SiteSpec("attn.c_attn", heads="heads", layout="qkv", part=0),
    "attn.k": SiteSpec("attn.c_attn", heads="kv_heads", layout="qkv", part=1),
    "attn.v": SiteSpec("attn.c_attn", heads="kv_heads", layout="qkv", part=2),
    "attn.pattern": SiteSpec("attn", "pattern"),
    "attn.z": SiteSpec("attn.c_proj", "input", heads="heads"),
    "attn.out": SiteSpec("attn.c_proj"),
    "resid_mid": SiteSpec("ln_2", "input", carried=True),
    "mlp.norm": SiteSpec("ln_2"),
    "mlp.pre": SiteSpec("mlp.c_fc"),
    "mlp.hidden": SiteSpec("mlp.c_proj", "input"),
    "mlp.out": SiteSpec("mlp.c_proj"),
    "resid_post": SiteSpec(""),
}
ARCHITECTURES = (
    Architecture(
        name="gpt2",
        model_types=("gpt2",),
        prefixes=("transformer.", ""),
        stacks=(
            Stack(
                blocks="h",
                block_sites=BLOCK,
                sites={
                    "embed": SiteSpec("drop"),
                    "final_norm": SiteSpec("ln_f"),
                    "logits": SiteSpec("/lm_head"),
                },
                dims=common_dims,
                final_norm="ln_f",
                head="/lm_head",
            ),
        ),
    ),
)
