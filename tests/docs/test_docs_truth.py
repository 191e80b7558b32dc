"""What the pages say exists does exist: links, extras, commands, targets of make, methods, figures of the records."""

import re
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "docs")]  # pages.py is beside the pages it makes
import pages
from pages_text import ROOT, blocks, commands, extras, links, name, targets, written

from microtome.methods import all_methods

PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TEXTS = {path: path.read_text(encoding="utf-8") for path in written()}
#: Made by `make study` in a browser; the page names it before it is there.
PICTURES = {"docs/images/report.png"}
#: Named as planned, not as there.
PLANNED = {"serve"}


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The pages that docs/pages.py makes."""
    return pages.pages()


def declared_extras() -> set[str]:
    """Names under [project.optional-dependencies] (read as text: tomllib is younger than Python 3.10)."""
    section = PYPROJECT.split("[project.optional-dependencies]")[1].split("\n[")[0]
    return set(re.findall(r"^([\w-]+) = \[", section, re.MULTILINE))


def test_extras_exist():
    known = declared_extras()
    assert {"llm", "serve", "cluster", "brain", "distil", "dev"} <= known
    named = {path: extras(text) for path, text in TEXTS.items()}
    source = [p for p in (ROOT / "src").rglob("*.py") if "microtome[" in p.read_text(encoding="utf-8")]
    named |= {path: extras(path.read_text(encoding="utf-8")) for path in source}
    assert {name(path): found - known for path, found in named.items() if found - known} == {}


def test_extras_that_code_asks_for_exist():
    """MissingExtra.of(package, extra) names an extra that pip knows."""
    called = re.compile(r"MissingExtra\.of\(\s*\"[\w-]+\",\s*\"(\w+)\"")
    found = {extra for p in (ROOT / "src").rglob("*.py") for extra in called.findall(p.read_text(encoding="utf-8"))}
    assert found <= declared_extras()


def test_make_targets_exist():
    known = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    wanted = {"study", "test", "test-full", "lint", "bench", "organisms", "replicate", "docs", "clean"}
    assert wanted <= known
    assert {name(p): targets(t) - known for p, t in TEXTS.items() if targets(t) - known} == {}


def test_links_resolve(made):
    """Links between files of the checkout, and between pages of the site; addresses elsewhere are not fetched."""
    broken = []
    site = {page.removeprefix("docs/") for page in map(name, TEXTS) if page.startswith("docs/")} | set(made)
    for path, text in TEXTS.items():
        for target in map(_file, links(text)):
            if target and not _found(path, target, site):
                broken.append(f"{name(path)}: {target}")
    for page, text in made.items():
        broken += [f"{page}: {t}" for t in map(_file, links(text)) if t and _join(page, t) not in site]
    assert broken == []


def _file(target: str) -> str:
    """The file part of a link; empty for anchors and addresses elsewhere."""
    return "" if re.match(r"[a-z]+:", target) else target.partition("#")[0]


def _found(path: Path, target: str, site: set[str]) -> bool:
    place = (path.parent / target).resolve()
    inside = place.relative_to(ROOT).as_posix() if place.is_relative_to(ROOT) else ""
    return place.exists() or inside in PICTURES or (inside.startswith("docs/") and inside.removeprefix("docs/") in site)


def _join(page: str, target: str) -> str:
    return (Path("/") / page).parent.joinpath(target).resolve().relative_to("/").as_posix()


def test_every_page_of_the_menu_exists(made):
    menu = re.findall(r"([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1])
    site = {page.removeprefix("docs/") for page in map(name, TEXTS)} | set(made)
    assert [page for page in menu if page not in site] == []


def test_every_method_has_a_page_that_says_what_its_record_says(made):
    for key, record in all_methods().items():
        page = made[f"methods/{key}.md"]
        for said in (record.call, record.gives, record.paper.link, record.paper.title):
            assert said in page, (key, said)
        for said in (record.cost, record.claim, record.cannot_claim):
            assert pages.cell(said) in page, (key, said)
        assert f"[{key}]({key}.md)" in made["methods/index.md"]


def test_every_method_stands_on_the_page_of_its_room(made):
    missing = [f"{m.room}: {key}" for key, m in all_methods().items() if f"methods/{key}.md" not in made[f"rooms/{m.room}.md"]]
    assert missing == []


def test_the_organisms_page_names_each_with_its_figures(made):
    from microtome.organisms import names

    assert [n for n in names() if f"`organism:{n}`" not in made["organisms.md"]] == []


def test_version_is_one():
    import microtome

    version = microtome.__version__
    assert f'version = "{version}"' in PYPROJECT
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_commands_exist(capsys, monkeypatch):
    cli = pytest.importorskip("microtome.cli")
    if not hasattr(cli, "main"):
        pytest.skip("the command line is not there yet")
    said = {command for text in TEXTS.values() for command in commands(text)} - PLANNED
    assert "study" in said
    unknown = []
    for command in sorted(said):
        monkeypatch.setattr(sys, "argv", ["microtome", command, "--help"])
        try:
            code = cli.main()
        except SystemExit as stop:
            code = stop.code
        if code:
            unknown.append(command)
    capsys.readouterr()
    assert unknown == []


def test_pages_name_no_machine():
    """No path or host of whoever wrote a page."""
    odd = re.compile(r"/work/|/root/|/home/\w+|\blocalhost:\d|\b10\.\d+\.\d+\.\d+")
    assert [name(p) for p, text in TEXTS.items() if odd.search(text)] == []


def test_extractor_reads_what_it_should():
    text = (
        "x\n```python\na = 1\n```\n\n    microtome study --json\n"
        "`microtome methods show KEY` and `make test-full`\n[a](b.md#c)\n"
    )
    assert [(b.line, b.code) for b in blocks(text)] == [(3, "a = 1\n")]
    assert commands(text) == {"study", "methods"}
    assert targets(text) == {"test-full"}
    assert links(text) == ["b.md#c"]
    assert extras("pip install 'microtome[plot,study]' or `[dev]`") == {"plot", "study", "dev"}
