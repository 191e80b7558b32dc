"""Whisper: audio encoder and text decoder with cross-attention."""

from typing import Any

from microtome.subject.architecture import Architecture, Dims, Stack
from microtome.subject.architectures._rows import attention
from microtome.subject.site import SiteSpec

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")
SELF = {
    "resid_pre": SiteSpec("", "input"),
    "attn.norm": SiteSpec("self_attn_layer_norm"),
    **attention("self_attn", PROJECTIONS),
}
CROSS = {
    "resid_cross": SiteSpec("encoder_attn_layer_norm", "input", carried=True),
    "cross.norm": SiteSpec("encoder_attn_layer_norm"),
    **attention("encoder_attn", PROJECTIONS, name="cross"),
}
FEED_FORWARD = {
    "resid_mid": SiteSpec("final_layer_norm", "input", carried=True),
    "mlp.norm": SiteSpec("final_layer_norm"),
    "mlp.pre": SiteSpec("fc1"),
    "mlp.hidden": SiteSpec("fc2", "input"),
    "mlp.out": SiteSpec("fc2"),
    "resid_post": SiteSpec(""),
}


def _dims(config: Any, stack: str) -> Dims:
    heads = getattr(config, f"{stack}_attention_heads")
    return Dims(
        blocks=getattr(config, f"{stack}_layers"),
        d_model=config.d_model,
        heads=heads,
        kv_heads=heads,
        d_head=config.d_model // heads,
        d_mlp=getattr(config, f"{stack}_ffn_dim"),
        vocab=config.vocab_size if stack == "decoder" else 0,
    )


def _sites(stack: str) -> dict[str, SiteSpec]:
    return {"embed": SiteSpec(f"{stack}.layers.0", "input"), "final_norm": SiteSpec(f"{stack}.layer_norm")}


ARCHITECTURES = (
    Architecture(
        name="whisper",
        model_types=("whisper",),
        prefixes=("model.", ""),
        stacks=(
            Stack(
                name="encoder",
                blocks="encoder.layers",
                block_sites={**SELF, **FEED_FORWARD},
                sites=_sites("encoder"),
                dims=lambda config: _dims(config, "encoder"),
                causal=False,
                final_norm="encoder.layer_norm",
            ),
            Stack(
                name="decoder",
                blocks="decoder.layers",
                block_sites={**SELF, **CROSS, **FEED_FORWARD},
                sites={**_sites("decoder"), "logits": SiteSpec("/proj_out")},
                dims=lambda config: _dims(config, "decoder"),
                residual="cross",
                final_norm="decoder.layer_norm",
                head="/proj_out",
            ),
        ),
    ),
)
