"""Mamba: blocks of one gated state-space mixer; no attention and no MLP.

`mixer.x` enters the convolution and the scan, `mixer.gate` multiplies the result, `mixer.hidden` leaves the scan.
"""

from microtome.subject.architecture import Architecture, Stack, common_dims
from microtome.subject.architectures._rows import ATTENTION_SITES, NO_ATTENTION
from microtome.subject.site import SiteSpec

BLOCK = {
    "resid_pre": SiteSpec("", "input"),
    "mixer.norm": SiteSpec("norm"),
    "mixer.x": SiteSpec("mixer.in_proj", layout="halves", part=0),
    "mixer.gate": SiteSpec("mixer.in_proj", layout="halves", part=1),
    "mixer.hidden": SiteSpec("mixer.out_proj", "input"),
    "mixer.out": SiteSpec("mixer.out_proj"),
    "resid_post": SiteSpec(""),
}
ONE_MIXER = "A Mamba block has a single sublayer, 'mixer' (norm, x, gate, hidden, out)."
ARCHITECTURES = (
    Architecture(
        name="mamba",
        model_types=("mamba",),
        prefixes=("backbone.", ""),
        stacks=(
            Stack(
                blocks="layers",
                block_sites=BLOCK,
                sites={
                    "embed": SiteSpec("embeddings"),
                    "final_norm": SiteSpec("norm_f"),
                    "logits": SiteSpec("/lm_head"),
                },
                dims=common_dims,
                residual="none",
                final_norm="norm_f",
                head="/lm_head",
            ),
        ),
        absent={
            **dict.fromkeys((*ATTENTION_SITES, "attn.norm"), NO_ATTENTION),
            **dict.fromkeys(("resid_mid", "mlp.norm", "mlp.pre", "mlp.hidden", "mlp.out"), ONE_MIXER),
        },
    ),
)
