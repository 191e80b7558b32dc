"""DINOv2: ViT with a layer scale behind each sublayer; `attn.out` and `mlp.out` (what is added) are its outputs."""

from typing import Any

from microtome.subject.architecture import Architecture, Dims, Stack
from microtome.subject.architectures._rows import attention
from microtome.subject.architectures.llama import PROJECTIONS
from microtome.subject.architectures.vit import image_dims
from microtome.subject.site import SiteSpec

ATTENTION = {
    "resid_pre": SiteSpec("", "input"),
    "attn.norm": SiteSpec("norm1"),
    **attention("attention", PROJECTIONS, out="layer_scale1"),
    "resid_mid": SiteSpec("norm2", "input", carried=True),
    "mlp.norm": SiteSpec("norm2"),
}
PLAIN = {
    **ATTENTION,
    "mlp.pre": SiteSpec("mlp.fc1"),
    "mlp.hidden": SiteSpec("mlp.fc2", "input"),
    "mlp.proj": SiteSpec("mlp.fc2"),
    "mlp.out": SiteSpec("layer_scale2"),
    "resid_post": SiteSpec(""),
}
GATED = {
    **ATTENTION,
    "mlp.pre": SiteSpec("mlp.gate_proj"),
    "mlp.up": SiteSpec("mlp.up_proj"),
    "mlp.hidden": SiteSpec("mlp.down_proj", "input"),
    "mlp.proj": SiteSpec("mlp.down_proj"),
    "mlp.out": SiteSpec("layer_scale2"),
    "resid_post": SiteSpec(""),
}


def _dims(config: Any) -> Dims:
    hidden = int(config.hidden_size * config.mlp_ratio)
    if config.use_swiglu_ffn:  # two thirds, rounded up to a multiple of 8
        hidden = (int(hidden * 2 / 3) + 7) // 8 * 8
    return Dims(**{**vars(image_dims(config)), "d_mlp": hidden})


def _table(name: str, gated: bool) -> Architecture:
    # The classifier reads the class token beside the mean patch, so there is no head that fits a single position.
    stack = Stack(
        blocks="encoder.layer",
        block_sites=GATED if gated else PLAIN,
        sites={
            "embed": SiteSpec("embeddings"),
            "final_norm": SiteSpec("layernorm"),
            "logits": SiteSpec("/classifier", axes=("batch", "unit")),
        },
        dims=_dims,
        causal=False,
        final_norm="layernorm",
    )
    return Architecture(
        name,
        model_types=("dinov2",),
        stacks=(stack,),
        prefixes=("dinov2.", ""),
        when=lambda config: config.use_swiglu_ffn == gated,
    )


ARCHITECTURES = (_table("dinov2", gated=False), _table("dinov2_gated", gated=True))
