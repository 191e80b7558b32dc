"""ViT: patches with a class token; positions are the class token and then the patches, row by row."""

from typing import Any

from microtome.subject.architecture import Architecture, Dims, Stack, common_dims
from microtome.subject.architectures._rows import attention
from microtome.subject.architectures.llama import PROJECTIONS
from microtome.subject.site import SiteSpec

BLOCK = {
    "resid_pre": SiteSpec("", "input"),
    "attn.norm": SiteSpec("layernorm_before"),
    **attention("attention", PROJECTIONS),
    "resid_mid": SiteSpec("layernorm_after", "input", carried=True),
    "mlp.norm": SiteSpec("layernorm_after"),
    "mlp.pre": SiteSpec("mlp.fc1"),
    "mlp.hidden": SiteSpec("mlp.fc2", "input"),
    "mlp.out": SiteSpec("mlp.fc2"),
    "resid_post": SiteSpec(""),
}


def image_dims(config: Any) -> Dims:
    """Sizes, with the number of classes in the place of the vocabulary."""
    return Dims(**{**vars(common_dims(config)), "vocab": config.num_labels})


ARCHITECTURES = (
    Architecture(
        name="vit",
        model_types=("vit",),
        prefixes=("vit.", ""),
        stacks=(
            Stack(
                blocks="layers",
                block_sites=BLOCK,
                sites={
                    "embed": SiteSpec("embeddings"),
                    "final_norm": SiteSpec("layernorm"),
                    "logits": SiteSpec("/classifier", axes=("batch", "unit")),
                },
                dims=image_dims,
                causal=False,
                final_norm="layernorm",
                head="/classifier",
            ),
        ),
    ),
)
