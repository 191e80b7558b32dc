"""Every Python block of the README and of the docs runs, top to bottom, in one namespace per page."""

import doctest
import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from pages_text import ROOT, blocks, name, written

from microtome.organisms.registry import COMPILED
from microtome.organisms.shelf import folder

PAGES = [p for p in written() if blocks(p.read_text(encoding="utf-8"))]
#: Blocks that the pages leave out; a new one is a decision, not an accident.
SKIPPED = 0


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = page.read_text(encoding="utf-8")
    untrained = [n for n in _organisms(text) if n not in COMPILED and not folder(n).is_dir()]
    if untrained:
        pytest.skip(f"the weights of {untrained} are not in this checkout")
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "page"}
    for block in blocks(text):
        if not block.skipped:
            _run(block.code, f"{name(page)}:{block.line}", space)


def _run(code: str, where: str, space: dict[str, Any]) -> None:
    if ">>> " in code:
        test = doctest.DocTestParser().get_doctest(code, space, where, where, 0)
        runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        assert runner.run(test, clear_globs=False).failed == 0, where
        space.update(test.globs)
    else:
        exec(compile(code, where, "exec"), space)


def _organisms(text: str) -> list[str]:
    code = "\n".join(block.code for block in blocks(text) if not block.skipped)
    return sorted(set(re.findall(r"organism:([\w-]+)", code)))


def test_readme_has_examples():
    assert len(blocks((ROOT / "README.md").read_text(encoding="utf-8"))) >= 3


def test_few_blocks_are_left_out():
    found = [f"{name(p)}:{b.line}" for p in PAGES for b in blocks(p.read_text(encoding="utf-8")) if b.skipped]
    assert len(found) <= SKIPPED, found
