"""OLMo-2: norms behind the sublayers only, so `attn.out` and `mlp.out` (what is added) are the norms' outputs."""

from microtome.subject.architecture import Architecture, Stack, common_dims
from microtome.subject.architectures._rows import attention
from microtome.subject.architectures.llama import PROJECTIONS, SITES
from microtome.subject.site import SiteSpec

BLOCK = {
    "resid_pre": SiteSpec("", "input"),
    **attention("self_attn", PROJECTIONS, kv="kv_heads", out="post_attention_layernorm"),
    "resid_mid": SiteSpec("mlp", "input", carried=True),
    "mlp.pre": SiteSpec("mlp.gate_proj"),
    "mlp.up": SiteSpec("mlp.up_proj"),
    "mlp.hidden": SiteSpec("mlp.down_proj", "input"),
    "mlp.proj": SiteSpec("mlp.down_proj"),
    "mlp.out": SiteSpec("post_feedforward_layernorm"),
    "resid_post": SiteSpec(""),
}
NORM_AFTER = "The norms come after the sublayers: attn.out and mlp.out are their outputs."
ARCHITECTURES = (
    Architecture(
        name="olmo2",
        model_types=("olmo2",),
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
        absent={"attn.norm": NORM_AFTER, "mlp.norm": NORM_AFTER},
    ),
)
