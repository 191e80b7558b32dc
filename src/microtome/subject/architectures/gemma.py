"""Gemma 2 and 3 (text): norms before and after each sublayer, scaled embedding, soft-capped logits (Gemma 2).

`attn.out` and `mlp.out` are what is added to the stream: the outputs of the norms behind the sublayers. The raw outputs
of the projections are `attn.proj` and `mlp.proj`. `logits` is the head's output; the soft cap comes after it.
"""

from typing import Any

from microtome.subject.architecture import Architecture, Dims, Stack, common_dims
from microtome.subject.architectures._rows import attention
from microtome.subject.architectures.llama import PROJECTIONS
from microtome.subject.site import SiteSpec

BLOCK = {
    "resid_pre": SiteSpec("", "input"),
    "attn.norm": SiteSpec("input_layernorm"),
    **attention("self_attn", PROJECTIONS, kv="kv_heads", out="post_attention_layernorm"),
    "resid_mid": SiteSpec("pre_feedforward_layernorm", "input", carried=True),
    "mlp.norm": SiteSpec("pre_feedforward_layernorm"),
    "mlp.pre": SiteSpec("mlp.gate_proj"),
    "mlp.up": SiteSpec("mlp.up_proj"),
    "mlp.hidden": SiteSpec("mlp.down_proj", "input"),
    "mlp.proj": SiteSpec("mlp.down_proj"),
    "mlp.out": SiteSpec("post_feedforward_layernorm"),
    "resid_post": SiteSpec(""),
}
#: `embed` is read where it enters the first block: Gemma 3 writes the features of images into the token embeddings.
SITES = {
    "embed": SiteSpec("layers.0", "input"),
    "final_norm": SiteSpec("norm"),
    "logits": SiteSpec("/lm_head"),
}


def text_dims(config: Any) -> Dims:
    """Sizes of the text tower."""
    return common_dims(config.get_text_config())


ARCHITECTURES = (
    Architecture(
        name="gemma",
        model_types=("gemma2", "gemma3_text", "gemma3"),
        prefixes=("model.", "", "model.language_model.", "language_model."),
        stacks=(
            Stack(
                blocks="layers",
                block_sites=BLOCK,
                sites=SITES,
                dims=text_dims,
                final_norm="norm",
                head="/lm_head",
                cap="final_logit_softcapping",
            ),
        ),
    ),
)
