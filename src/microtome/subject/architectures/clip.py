"""CLIP: a text and a vision tower, together or alone.

The vision tower norms its class token only, after pooling, so its `final_norm` has no positions.
"""

from microtome.subject.architecture import Architecture, Stack, common_dims
from microtome.subject.architectures._rows import attention
from microtome.subject.site import SiteSpec

BLOCK = {
    "resid_pre": SiteSpec("", "input"),
    "attn.norm": SiteSpec("layer_norm1"),
    **attention("self_attn", ("q_proj", "k_proj", "v_proj", "out_proj")),
    "resid_mid": SiteSpec("layer_norm2", "input", carried=True),
    "mlp.norm": SiteSpec("layer_norm2"),
    "mlp.pre": SiteSpec("mlp.fc1"),
    "mlp.hidden": SiteSpec("mlp.fc2", "input"),
    "mlp.out": SiteSpec("mlp.fc2"),
    "resid_post": SiteSpec(""),
}
POOLED = ("batch", "unit")


def _text(name: str, prefix: str, tower: str) -> Stack:
    return Stack(
        name=name,
        blocks=f"{prefix}encoder.layers",
        block_sites=BLOCK,
        sites={
            "embed": SiteSpec(f"{prefix}embeddings"),
            "final_norm": SiteSpec(f"{prefix}final_layer_norm"),
            "projected": SiteSpec("/text_projection", axes=POOLED),
        },
        dims=lambda config: common_dims(getattr(config, tower) if tower else config),
        final_norm=f"{prefix}final_layer_norm",
    )


def _vision(name: str, prefix: str, tower: str) -> Stack:
    return Stack(
        name=name,
        blocks=f"{prefix}encoder.layers",
        block_sites=BLOCK,
        sites={
            "embed": SiteSpec(f"{prefix}pre_layrnorm"),
            "final_norm": SiteSpec(f"{prefix}post_layernorm", axes=POOLED),
            "projected": SiteSpec("/visual_projection", axes=POOLED),
        },
        dims=lambda config: common_dims(getattr(config, tower) if tower else config),
        causal=False,
        final_norm=f"{prefix}post_layernorm",
    )


ARCHITECTURES = (
    Architecture(
        name="clip",
        model_types=("clip",),
        stacks=(_text("text", "text_model.", "text_config"), _vision("vision", "vision_model.", "vision_config")),
        absent={"logits": "CLIP scores pairs; each tower ends in 'projected'."},
    ),
    Architecture(
        name="clip_text",
        model_types=("clip_text_model",),
        stacks=(_text("", "", ""),),
        prefixes=("text_model.", ""),
        absent={"logits": "The text tower has no head over tokens."},
    ),
    Architecture(
        name="clip_vision",
        model_types=("clip_vision_model",),
        stacks=(_vision("", "", ""),),
        prefixes=("vision_model.", ""),
        absent={"logits": "The vision tower has no classifier."},
    ),
)
