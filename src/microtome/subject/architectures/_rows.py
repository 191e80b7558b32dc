"""Rows that many tables share: one attention sublayer with separate projections, and why a site may be absent."""

from collections.abc import Sequence

from microtome.subject.site import SiteSpec

NO_ATTENTION = "This architecture has no attention."
ATTENTION_SITES = ("attn.q", "attn.k", "attn.v", "attn.pattern", "attn.z", "attn.out")
SOURCE = ("batch", "source", "head", "unit")


def attention(
    path: str, projections: Sequence[str], kv: str = "heads", name: str = "attn", out: str = ""
) -> dict[str, SiteSpec]:
    """The rows q, k, v, pattern, z, out of an attention module.

    Parameters
    ----------
    path : str
        The module that computes the attention weights, relative to the block.
    projections : sequence of str
        Names of the query, key, value and output projections inside it.
    kv : {"heads", "kv_heads"}
        Head count of keys and values.
    name : {"attn", "cross"}
        Cross-attention reads keys and values from the other stack: their rows have the axis "source", not "position".
    out : str
        Module whose output is added to the stream, when it is not the output projection, which is then `attn.proj`.
    """
    q, k, v, o = (f"{path}.{p}" for p in projections)
    axes = SOURCE if name == "cross" else ()
    rows = {
        f"{name}.q": SiteSpec(q, heads="heads"),
        f"{name}.k": SiteSpec(k, heads=kv, axes=axes),  # type: ignore[arg-type]
        f"{name}.v": SiteSpec(v, heads=kv, axes=axes),  # type: ignore[arg-type]
        f"{name}.pattern": SiteSpec(path, "pattern"),
        f"{name}.z": SiteSpec(o, "input", heads="heads"),
    }
    if out:
        rows[f"{name}.proj"] = SiteSpec(o)
    rows[f"{name}.out"] = SiteSpec(out or o)
    return rows
