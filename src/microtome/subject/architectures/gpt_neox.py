"""GPT-NeoX and Pythia: rotary positions, each head's q, k, v side by side, attention and MLP in parallel or in turn."""

from microtome.subject.architecture import Architecture, Stack, common_dims
from microtome.subject.site import SiteSpec

ATTENTION = {
    "resid_pre": SiteSpec("", "input"),
    "attn.norm": SiteSpec("input_layernorm"),
    "attn.q": SiteSpec("attention.query_key_value", heads="heads", layout="interleaved", part=0),
    "attn.k": SiteSpec("attention.query_key_value", heads="heads", layout="interleaved", part=1),
    "attn.v": SiteSpec("attention.query_key_value", heads="heads", layout="interleaved", part=2),
    "attn.pattern": SiteSpec("attention", "pattern"),
    "attn.z": SiteSpec("attention.dense", "input", heads="heads"),
    "attn.out": SiteSpec("attention.dense"),
}
FEED_FORWARD = {
    "mlp.norm": SiteSpec("post_attention_layernorm"),
    "mlp.pre": SiteSpec("mlp.dense_h_to_4h"),
    "mlp.hidden": SiteSpec("mlp.dense_4h_to_h", "input"),
    "mlp.out": SiteSpec("mlp.dense_4h_to_h"),
    "resid_post": SiteSpec(""),
}
MIDDLE = {"resid_mid": SiteSpec("post_attention_layernorm", "input", carried=True)}
SITES = {
    "embed": SiteSpec("emb_dropout"),
    "final_norm": SiteSpec("final_layer_norm"),
    "logits": SiteSpec("/lm_head"),
}
ARCHITECTURES = (
    Architecture(
        name="gpt_neox",
        model_types=("gpt_neox",),
        prefixes=("gpt_neox.", ""),
        when=lambda config: config.use_parallel_residual,
        stacks=(
            Stack(
                blocks="layers",
                block_sites={**ATTENTION, **FEED_FORWARD},
                sites=SITES,
                dims=common_dims,
                residual="parallel",
                final_norm="final_layer_norm",
                head="/lm_head",
            ),
        ),
        absent={"resid_mid": "Attention and MLP read the same stream in parallel: nothing lies between them."},
    ),
    Architecture(
        name="gpt_neox_sequential",
        model_types=("gpt_neox",),
        prefixes=("gpt_neox.", ""),
        stacks=(
            Stack(
                blocks="layers",
                block_sites={**ATTENTION, **MIDDLE, **FEED_FORWARD},
                sites=SITES,
                dims=common_dims,
                final_norm="final_layer_norm",
                head="/lm_head",
            ),
        ),
    ),
)
