"""The compiled organisms: attention with weights written by construction, an optional MLP, no norms in the blocks."""

from microtome.subject.architecture import Architecture, Residual, Stack, common_dims
from microtome.subject.site import SiteSpec

ATTENTION = {
    "resid_pre": SiteSpec("", "input"),
    "attn.q": SiteSpec("attn.q_proj", heads="heads"),
    "attn.k": SiteSpec("attn.k_proj", heads="heads"),
    "attn.v": SiteSpec("attn.v_proj", heads="heads"),
    "attn.pattern": SiteSpec("attn.pattern"),  # a module of its own: no attention interface is needed
    "attn.z": SiteSpec("attn.o_proj", "input", heads="heads"),
    "attn.out": SiteSpec("attn.o_proj"),
}
FEED_FORWARD = {
    "resid_mid": SiteSpec("mlp", "input", carried=True),
    "mlp.pre": SiteSpec("mlp.fc_in"),
    "mlp.hidden": SiteSpec("mlp.fc_out", "input"),
    "mlp.out": SiteSpec("mlp.fc_out"),
}
NO_NORM = dict.fromkeys(("attn.norm", "mlp.norm"), "The blocks of a compiled organism have no norms.")
NO_MLP = dict.fromkeys(
    ("resid_mid", "mlp.pre", "mlp.hidden", "mlp.out"), "This compiled organism consists of attention only."
)


def _table(name: str, mlp: bool, residual: Residual) -> Architecture:
    stack = Stack(
        blocks="h",
        block_sites={**ATTENTION, **(FEED_FORWARD if mlp else {}), "resid_post": SiteSpec("")},
        sites={
            "embed": SiteSpec("h.0", "input"),
            "final_norm": SiteSpec("ln_f"),
            "logits": SiteSpec("/lm_head"),
        },
        dims=common_dims,
        residual=residual,
        final_norm="ln_f",
        head="/lm_head",
    )
    return Architecture(
        name,
        model_types=("microtome_compiled",),
        stacks=(stack,),
        prefixes=("transformer.", ""),
        when=lambda config: bool(config.intermediate_size) == mlp,
        absent=dict(NO_NORM) if mlp else {**NO_NORM, **NO_MLP},
    )


ARCHITECTURES = (
    _table("compiled", mlp=True, residual="sequential"),
    _table("compiled_attention", mlp=False, residual="parallel"),
)
