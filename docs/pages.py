"""The pages of the site that are made, not written: text in, Markdown out. `gen_pages.py` hands them to mkdocs.

One page per method and the list of methods come from the method records; the organisms from the figures they reached; the
ledger from ``replications/ledger.json``; security, contributing and changelog from the files at the root.
"""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from microtome.method import Method

ROOT = Path(__file__).resolve().parent.parent
#: Pages made from a file at the root.
FROM_ROOT = {"security.md": "SECURITY.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}

#: Where a room's page wants the table of its methods.
TABLE = "<!-- methods -->"


def pages() -> dict[str, str]:
    """Every made page: its path in the site, and its Markdown."""
    from microtome.ledger import Ledger, ledger_page
    from microtome.methods import all_methods

    methods, ledger = all_methods(), Ledger.read(ROOT / "replications")
    made = {f"methods/{key}.md": method_page(record, claims(ledger, record)) for key, record in methods.items()}
    made["methods/index.md"] = method_list(methods)
    made["ledger.md"] = ledger_page(ledger)
    made["organisms.md"] = (ROOT / "docs" / "organisms.in.md").read_text(encoding="utf-8") + organism_table()
    made |= {f"rooms/{path.name}": room_page(path, methods) for path in sorted((ROOT / "docs" / "rooms").glob("*.md"))}
    made |= {page: root_page(name) for page, name in FROM_ROOT.items()}
    return made


def method_list(methods: Mapping[str, Method]) -> str:
    """The table of all methods, by room."""
    lines = [
        "# Methods", "",
        f"{len(methods)} methods, from the records beside their code. `microtome methods WORDS` searches the same list.", "",
        "| Method | Room | What it does | Gives | Paper |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for key, m in sorted(methods.items(), key=lambda item: (item[1].room, item[0])):
        paper = f"{m.paper.authors} ({m.paper.year})"
        lines.append("| " + " | ".join([f"[{key}]({key}.md)", m.room, cell(m.summary), m.gives, cell(paper)]) + " |")
    return "\n".join(lines) + "\n"


def room_page(path: Path, methods: Mapping[str, Method]) -> str:
    """A room's page with the table of its methods where the page asks for it."""
    rows = [f"| [{key}](../methods/{key}.md) | {cell(m.summary)} |" for key, m in methods.items() if m.room == path.stem]
    table = "\n".join(["| Method | What it does |", "|---|---|", *rows])
    return path.read_text(encoding="utf-8").replace(TABLE, table)


def method_page(record: Method, held: list[str]) -> str:
    """The page of one method: its record, its docstring, what was replicated, what the contract checks skip."""
    seed = "yes: the same `seed` gives the same bytes on CPU" if record.stochastic else "no"
    rows = {
        "Question": record.question, "Call": f"`{record.call}`", "Needs": ", ".join(record.needs), "Gives": record.gives,
        "Cost": record.cost, "Stochastic": seed, "Interpretability it offers": record.notion, "Serves": record.serves,
        "Paper": f"{record.paper.authors} ({record.paper.year}). [{record.paper.title}]({record.paper.link})",
        "The paper's claim": record.claim, "**It cannot claim**": record.cannot_claim,
    }  # fmt: skip
    function = record.function
    where = f"{function.__module__}.{function.__name__}" if function else record.key
    lines = [f"# {record.key}", "", record.summary, "", "| | |", "|---|---|"]
    lines += [f"| {name} | {cell(value)} |" for name, value in rows.items()]
    lines += ["", "## Reference", "", f"::: {where}", ""]
    lines += ["## Replicated", "", *(held or ["No replication names this method yet."]), ""]
    if record.skips:
        lines += ["## Contract checks that do not apply", "", *(f"- {k}: {v}" for k, v in record.skips.items()), ""]
    return "\n".join(lines)


def claims(ledger: Any, record: Method) -> list[str]:
    """Lines on the replications whose sources include the method's module."""
    module = inspect.getmodule(record.function)
    name = module.__name__ if module else ""
    found = []
    for key, row in sorted(ledger.rows.items()):
        if any(name == m or name.startswith(f"{m}.") for m in row.content["hashes"]["methods"]):
            held = sum(claim["holds"] for claim in row.content["claims"])
            found.append(f"- [`{key}`](../ledger.md): {held} of {len(row.content['claims'])} claims hold.")
    return found


def organism_table() -> str:
    """Organisms with the figures that they reached when they were made."""
    from microtome.organisms import names, shelf

    lines = ["| Organism | Parameters | Made in | What it reached |", "|---|---|---|---|"]
    for name in names():
        figures = shelf.figures(name)
        if not figures:
            how = "written by construction: exact" if name.startswith("compiled-") else "weights are not in this checkout"
            lines.append(f"| `organism:{name}` | | | {how} |")
            continue
        reached = {k: v for k, v in figures.items() if k not in ("parameters", "seconds", "seed")}
        made = f"{figures['seconds'] / 60:.0f} min" if figures.get("seconds", 0) >= 90 else f"{figures.get('seconds', 0):.0f} s"
        text = ", ".join(f"{k.replace('_', ' ')} {short(v)}" for k, v in reached.items() if not isinstance(v, Mapping))
        lines.append(f"| `organism:{name}` | {figures.get('parameters', 0):,} | {made} | {text} |")
        lines += [f"| | | | {k.replace('_', ' ')}: {spelled(v)} |" for k, v in reached.items() if isinstance(v, Mapping)]
    return "\n".join(lines) + "\n"


def spelled(values: Mapping[str, Any]) -> str:
    """A table of figures in one line."""
    return "; ".join(f"{k.replace('_', ' ')} {spelled(v) if isinstance(v, Mapping) else short(v)}" for k, v in values.items())


def short(value: Any) -> str:
    """A figure as a reader wants it."""
    if isinstance(value, list):
        return "[" + ", ".join(map(short, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def root_page(name: str) -> str:
    """A file of the root as a page of the site: links to other files become links between pages."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for page, file in FROM_ROOT.items():
        text = text.replace(f"]({file})", f"]({page})")
    return re.sub(r"\]\(docs/", "](", text)


def cell(value: object) -> str:
    """Text that stays inside its cell of a table."""
    return " ".join(str(value).replace("|", "\\|").replace("<", "&lt;").split())
