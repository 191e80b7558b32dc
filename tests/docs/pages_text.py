"""What the tests read in the Markdown pages: blocks of code, links, commands, extras."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

SKIP = "# doctest: skip"
_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)(?: \"[^\"]*\")?\)")
_COMMAND = re.compile(r"(?:^ {4}|`|\$ )microtome (?P<words>[a-z][^`\n#]*)", re.MULTILINE)
_EXTRA = re.compile(r"microtome\[(?P<pip>[\w,]+)\]|`\[(?P<named>\w+)\]`|'\.\[(?P<here>[\w,]+)\]'")
_MAKE = re.compile(r"(?:^ {4}|`)make (?P<target>[a-z][a-z-]*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of Python."""

    line: int
    code: str

    @property
    def skipped(self) -> bool:
        """Whether the page asks not to run it."""
        return self.code.lstrip().startswith(SKIP)


def written() -> list[Path]:
    """The Markdown files that people write: at the root and in ``docs/``."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def name(path: Path) -> str:
    """A page as the tests call it."""
    return path.relative_to(ROOT).as_posix()


def blocks(text: str) -> list[Block]:
    """The Python blocks of a page, in order.

    >>> [b.code for b in blocks("a\\n```python\\nx = 1\\n```\\nb\\n")]
    ['x = 1\\n']
    """
    found = []
    for match in _FENCE.finditer(text):
        if match["kind"] in ("python", "py", "pycon"):
            cut = len(match["indent"])
            code = "".join(line[cut:] if line.strip() else line for line in match["code"].splitlines(keepends=True))
            found.append(Block(text.count("\n", 0, match.start("code")) + 1, code))
    return found


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Targets of the links and pictures of a page."""
    return [match["target"] for match in _LINK.finditer(prose(text))]


def commands(text: str) -> set[str]:
    """First words of the ``microtome ...`` commands that a page names."""
    return {match["words"].split()[0].strip(".,:;)") for match in _COMMAND.finditer(text)}


def targets(text: str) -> set[str]:
    """Targets of the ``make ...`` commands that a page names."""
    return {match["target"] for match in _MAKE.finditer(text)}


def extras(text: str) -> set[str]:
    """Extras that a page names."""
    named = (match["pip"] or match["named"] or match["here"] for match in _EXTRA.finditer(text))
    return {extra for group in named for extra in group.split(",")}
