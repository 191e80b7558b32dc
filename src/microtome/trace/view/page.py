"""Facts of a graph as JSON, and the page around them. All text of the model passes one escape, and is drawn as text.

The script is one fixed text, so a page can allow it by its hash and no other.
"""

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from microtome.errors import UsageError
from microtome.io import escape_html, script_json, visible
from microtome.trace.attribution_graph import KINDS

if TYPE_CHECKING:
    from microtome.trace.attribution_graph import AttributionGraph

#: More nodes than this are cut to the most influential ones; edges to the heaviest.
MOST_NODES, MOST_EDGES = 2000, 20_000
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src {allowed}">
<title>{title}</title><style>body{margin:0}h1{font:600 16px/1.3 system-ui,sans-serif;margin:10px 14px}</style></head>
<body class="mtg-whole"><h1>{title}</h1>{graph}</body></html>
"""


def page(graph: "AttributionGraph", title: str = "attribution graph", *, units: str = "") -> str:
    """The graph as one self-contained HTML page: drag, zoom, filter by influence, click a node for its facts.

    Parameters
    ----------
    graph : AttributionGraph
    title : str
    units : str
        Address of unit pages, with ``{unit}`` where the unit's name goes, e.g. ``"units.html#{unit}"``; "" = no links.

    Returns
    -------
    str
    """
    name = escape_html(title)
    head, heading, rest = PAGE.replace("{allowed}", script_hash()).split("{title}")
    return head + name + heading + name + rest.replace("{graph}", block(graph, units=units))


def block(graph: "AttributionGraph", *, units: str = "", name: str = "graph") -> str:
    """The same as a piece of a page; `name` tells apart several graphs on one page."""
    return drawn(facts(graph, units=units), name=name)


def drawn(facts: dict[str, Any], *, name: str = "graph") -> str:
    """What `facts` gave, as a piece of a page, which must allow `script_hash`."""
    if not name.isidentifier():
        raise UsageError(f"the name of a block must be an identifier, got {name!r}.")
    style = files("microtome.trace.view").joinpath("graph.css").read_text("utf-8")
    return (
        f'<style>{style}</style><div class="mtg" id="mtg-{name}"></div>'
        f'<script type="application/json" id="mtg-{name}-data">{script_json(facts)}</script>'
        f"<script>{_script()}</script>"
    )


def script_hash() -> str:
    """The script as a source of a Content-Security-Policy: ``'sha256-...'``."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()}'"


def _script() -> str:
    script = files("microtome.trace.view").joinpath("graph.js").read_text("utf-8")
    return script + '\nfor (const e of document.querySelectorAll(".mtg:empty")) microtomeGraph(e.id);'


def facts(graph: "AttributionGraph", *, units: str = "") -> dict[str, Any]:
    """What the page draws: nodes with place and facts, edges as three lists, tokens."""
    score = graph.influence() + graph.start.to(graph.weight)
    if len(graph) > MOST_NODES:
        keep = score * 0 > 1
        keep[score.topk(MOST_NODES).indices] = True
        graph = graph.part(keep)
        score = score[keep]
    heavy = graph.weight.abs().topk(min(MOST_EDGES, len(graph.weight))).indices.sort().values
    share = graph.weight.abs() / graph.mass.clamp_min(1e-30).to(graph.weight)[graph.target]
    nodes = [_node(graph, i, float(score[i]), units) for i in range(len(graph))]
    return {
        "tokens": [visible(t) for t in graph.tokens], "nodes": nodes, "layers": int(graph.layer.max()) if len(graph) else 0,
        "edges": {"s": graph.source[heavy].tolist(), "t": graph.target[heavy].tolist(),
                  "w": [float(f"{w:.4g}") for w in graph.weight[heavy].tolist()],
                  "p": [float(f"{w:.3g}") for w in share[heavy].tolist()]},
        "left": len(graph.weight) - len(heavy),
    }  # fmt: skip


def _node(graph: "AttributionGraph", i: int, score: float, units: str) -> dict[str, Any]:
    kind, unit = KINDS[int(graph.kind[i])], graph.unit(i)
    return {
        "k": kind, "l": int(graph.layer[i]), "p": int(graph.position[i]), "n": visible(graph.label(i)),
        "b": visible(_brief(graph, i, kind)), "v": float(f"{float(graph.value[i]):.4g}"), "i": float(f"{score:.4g}"),
        "r": float(f"{float(graph.rest[i]):.4g}"), "e": bool(graph.expanded[i]),
        "u": _address(units, str(unit)) if unit is not None and units else "",
    }  # fmt: skip


def _brief(graph: "AttributionGraph", i: int, kind: str) -> str:
    """The label in the drawing."""
    index = int(graph.index[i])
    if kind == "feature":
        return f"f{index}"
    if kind == "head":
        return f"h{index}"
    if kind in ("token", "logit"):
        return graph.label(i).partition(" ")[2].rpartition("@")[0][:16]
    return "err" if kind == "error" else "bias"


def _address(units: str, unit: str) -> str:
    from urllib.parse import quote

    if units.lstrip().lower().startswith(("javascript:", "data:", "vbscript:")):
        raise UsageError(f"units must be the address of a page, got {units[:30]!r}.")
    return units.replace("{unit}", quote(unit, safe=""))
