"""T5: encoder and decoder, relative position bias inside the attention, plain or gated feed-forward.

In the decoder `resid_cross` is the stream that enters cross-attention and `resid_mid` the one that enters the MLP.
"""

from typing import Any

from microtome.subject.architecture import Architecture, Dims, Stack, common_dims
from microtome.subject.architectures._rows import attention
from microtome.subject.site import SiteSpec

PROJECTIONS = ("q", "k", "v", "o")
SELF = {
    "resid_pre": SiteSpec("", "input"),
    "attn.norm": SiteSpec("layer.0.layer_norm"),
    **attention("layer.0.SelfAttention", PROJECTIONS),
}
CROSS = {
    "resid_cross": SiteSpec("layer.1", "input"),
    "cross.norm": SiteSpec("layer.1.layer_norm"),
    **attention("layer.1.EncDecAttention", PROJECTIONS, name="cross"),
}


def _feed_forward(layer: str, gated: bool) -> dict[str, SiteSpec]:
    dense = f"{layer}.DenseReluDense"
    gate = {"mlp.pre": SiteSpec(f"{dense}.wi_0"), "mlp.up": SiteSpec(f"{dense}.wi_1")}
    return {
        "resid_mid": SiteSpec(layer, "input"),
        "mlp.norm": SiteSpec(f"{layer}.layer_norm"),
        **(gate if gated else {"mlp.pre": SiteSpec(f"{dense}.wi")}),
        "mlp.hidden": SiteSpec(f"{dense}.wo", "input"),
        "mlp.out": SiteSpec(f"{dense}.wo"),
        "resid_post": SiteSpec(""),
    }


def decoder_dims(config: Any) -> Dims:
    """Sizes of the decoder, whose depth may differ."""
    sizes = common_dims(config)
    return Dims(**{**vars(sizes), "blocks": config.num_decoder_layers})


def head_scale(config: Any) -> float:
    """With tied embeddings the decoder's output is scaled by d_model^-1/2 before the head."""
    return config.d_model**-0.5 if getattr(config, "scale_decoder_outputs", config.tie_word_embeddings) else 1.0


def _sites(stack: str) -> dict[str, SiteSpec]:
    return {"embed": SiteSpec(f"{stack}.block.0", "input"), "final_norm": SiteSpec(f"{stack}.final_layer_norm")}


def _table(name: str, gated: bool) -> Architecture:
    encoder = Stack(
        name="encoder",
        blocks="encoder.block",
        block_sites={**SELF, **_feed_forward("layer.1", gated)},
        sites=_sites("encoder"),
        dims=common_dims,
        causal=False,
        final_norm="encoder.final_layer_norm",
    )
    decoder = Stack(
        name="decoder",
        blocks="decoder.block",
        block_sites={**SELF, **CROSS, **_feed_forward("layer.2", gated)},
        sites={**_sites("decoder"), "logits": SiteSpec("/lm_head")},
        dims=decoder_dims,
        residual="cross",
        final_norm="decoder.final_layer_norm",
        head="/lm_head",
        scale=head_scale,
    )
    return Architecture(
        name,
        model_types=("t5",),
        stacks=(encoder, decoder),
        prefixes=("", "transformer."),
        when=lambda config: config.is_gated_act == gated,
    )


ARCHITECTURES = (_table("t5", gated=False), _table("t5_gated", gated=True))
