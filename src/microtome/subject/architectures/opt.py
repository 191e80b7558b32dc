"""OPT: learned positions; norms before the sublayers, or after each sum in the 350M model.

The block merges batch and position before its feed-forward part, so those rows are `flat`.
"""

from microtome.subject.architecture import Architecture, Stack, common_dims
from microtome.subject.architectures._rows import attention
from microtome.subject.site import SiteSpec

ATTENTION = attention("self_attn", ("q_proj", "k_proj", "v_proj", "out_proj"))
FEED_FORWARD = {
    "mlp.pre": SiteSpec("fc1", flat=True),
    "mlp.hidden": SiteSpec("fc2", "input", flat=True),
    "mlp.out": SiteSpec("fc2", flat=True),
    "resid_post": SiteSpec(""),
}
NORM_BEFORE = {
    "resid_pre": SiteSpec("", "input"),
    "attn.norm": SiteSpec("self_attn_layer_norm"),
    **ATTENTION,
    "resid_mid": SiteSpec("final_layer_norm", "input", carried=True, flat=True),
    "mlp.norm": SiteSpec("final_layer_norm", flat=True),
    **FEED_FORWARD,
}
NORM_AFTER = {
    "resid_pre": SiteSpec("", "input"),
    **ATTENTION,
    "resid_mid": SiteSpec("self_attn_layer_norm"),
    **FEED_FORWARD,
}
NO_NORM = "This OPT has no norm before the sublayers (do_layer_norm_before is false)."
ARCHITECTURES = (
    Architecture(
        name="opt",
        model_types=("opt",),
        prefixes=("model.decoder.", "decoder.", ""),
        when=lambda config: config.do_layer_norm_before,
        stacks=(
            Stack(
                blocks="layers",
                block_sites=NORM_BEFORE,
                sites={
                    "embed": SiteSpec("layers.0", "input"),
                    "final_norm": SiteSpec("final_layer_norm"),
                    "logits": SiteSpec("/lm_head"),
                },
                dims=common_dims,
                final_norm="final_layer_norm",
                head="/lm_head",
            ),
        ),
    ),
    Architecture(
        name="opt_norm_after",
        model_types=("opt",),
        prefixes=("model.decoder.", "decoder.", ""),
        stacks=(
            Stack(
                blocks="layers",
                block_sites=NORM_AFTER,
                sites={"embed": SiteSpec("layers.0", "input"), "logits": SiteSpec("/lm_head")},
                dims=common_dims,
                residual="post",
                final_norm="project_out",  # a projection to the width of the embedding stands where the norm would be
                head="/lm_head",
            ),
        ),
        absent={"attn.norm": NO_NORM, "mlp.norm": NO_NORM, "final_norm": "This OPT has no norm after the blocks."},
    ),
)
