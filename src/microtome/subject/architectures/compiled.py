"""The compiled organisms: attention with weights written by construction, an optional MLP, no norms in the blocks."""

from microtome.subject.architecture import Architecture, Stack, common_dims
from microtome.subject.architectures._rows import attention
from microtome.subject.site import SiteSpec

BLOCK = {
    "resid_pre": SiteSpec("", "input"),
    **attention("attn", ("q_proj", "k_proj", "v_proj", "o_proj")),
    "resid_mid": SiteSpec("mlp", "input", carried=True),
    "mlp.pre": SiteSpec("mlp.fc_in"),
    "mlp.hidden": SiteSpec("mlp.fc_out", "input"),
    "mlp.out": SiteSpec("mlp.fc_out"),
    "resid_post": SiteSpec(""),
}
NO_NORM = "the blocks of a compiled organism have no norms"
NO_MLP = "this compiled organism has attention only"
ARCHITECTURES = (
    Architecture(
        name="microtome_compiled",
        model_types=("microtome_compiled",),
        prefixes=("transformer.", ""),
        stacks=(
            Stack(
                blocks="h",
                block_sites=BLOCK,
                sites={
                    "embed": SiteSpec("h.0", "input"),
                    "final_norm": SiteSpec("ln_f"),
                    "logits": SiteSpec("/lm_head"),
                },
                dims=common_dims,
                final_norm="ln_f",
                head="/lm_head",
            ),
        ),
        absent={
            **dict.fromkeys(("attn.norm", "mlp.norm"), NO_NORM),
            **dict.fromkeys(("resid_mid", "mlp.pre", "mlp.hidden", "mlp.out"), NO_MLP),
        },
    ),
)
