"""Names of the sources of a linear network, in their order."""

from microtome.trace.rows import Sources


def source_names(sources: Sources) -> list[str]:
    """How each source is printed: ``token@3``, ``bias 0``, ``error blocks.0.mlp.out@3``, ``blocks.0.mlp.out/sae[7]@3``."""
    names: list[str] = []
    for (kind, site), span in sources.spans.items():
        if kind == "feature":
            codes = sources.net.codes[site]
            name = next(s.name for s in sources.net.stations if s.reads == site)
            names += [f"{name}[{u}]@{p}" for u, p in zip(codes.index.tolist(), codes.position.tolist())]
        elif kind == "bias":
            names += [f"bias {i}" for i in range(len(span))]
        else:
            names += [f"{kind} {site}@{i}".replace(" @", "@") for i in range(len(span))]
    return names
