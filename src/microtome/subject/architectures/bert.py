"""BERT and RoBERTa (and the sentence encoders built on them, such as MiniLM): a LayerNorm after each sum."""

from collections.abc import Callable
from typing import Any

from microtome.subject.architecture import Architecture, Stack, common_dims
from microtome.subject.site import SiteSpec

BLOCK = {
    "resid_pre": SiteSpec("", "input"),
    "attn.q": SiteSpec("attention.self.query", heads="heads"),
    "attn.k": SiteSpec("attention.self.key", heads="heads"),
    "attn.v": SiteSpec("attention.self.value", heads="heads"),
    "attn.pattern": SiteSpec("attention.self", "pattern"),
    "attn.z": SiteSpec("attention.output.dense", "input", heads="heads"),
    "attn.out": SiteSpec("attention.output.dense"),
    "resid_mid": SiteSpec("attention.output"),
    "mlp.pre": SiteSpec("intermediate.dense"),
    "mlp.hidden": SiteSpec("output.dense", "input"),
    "mlp.out": SiteSpec("output.dense"),
    "resid_post": SiteSpec(""),
}
NORM_AFTER = "The norms come after the sums: resid_mid and resid_post are their outputs."
ABSENT = {"attn.norm": NORM_AFTER, "mlp.norm": NORM_AFTER, "final_norm": "The last resid_post is already normed."}


def _table(name: str, prefix: str, head: str, first_position: Callable[[Any], int] | None = None) -> Architecture:
    stack = Stack(
        blocks="encoder.layer",
        block_sites=BLOCK,
        sites={"embed": SiteSpec("embeddings"), "logits": SiteSpec(head)},
        dims=common_dims,
        residual="post",
        causal=False,
        head=head,
    )
    return Architecture(
        name,
        model_types=(name,),
        stacks=(stack,),
        prefixes=(prefix, ""),
        absent=ABSENT,
        first_position=first_position,
    )


ARCHITECTURES = (
    _table("bert", "bert.", "/cls"),
    _table("roberta", "roberta.", "/lm_head", first_position=lambda config: config.pad_token_id + 1),
)
