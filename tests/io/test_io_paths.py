# ruff: noqa: E501  (tables of payloads)
"""Promise 3: no name leads out of its folder, and honest layouts load."""

import contextlib
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.errors import MicrotomeError, UnsafeContent
from microtome.io import read_json, safe_join
from microtome.io.paths import name_problem

UP = [
    "..",
    "../x",
    "../../x",
    "a/../../x",
    "a/..",
    "./..",
    "a/b/../../../x",
    "../root2/x",
    "a//../..",
    "...",
    ".",
    "./a",
    "a/./b",
]
ABSOLUTE = [
    "/etc/passwd",
    "//etc/passwd",
    "///x",
    "/",
    "file:///etc/passwd",
    "\\\\server\\share",
    "\\x",
    "~/x",
    "~root/x",
    "~",
]
DRIVES = [
    "C:\\x",
    "C:/x",
    "c:x",
    "D:",
    "\\\\?\\C:\\x",
    "a:b",
    "x:$DATA",
    "COM1",
    "con",
    "NUL",
    "nul.txt",
    "a/aux",
    "LPT1.x",
    "CONIN$",
]
BACK = ["..\\x", "a\\..\\..\\x", "..\\/x", "a/..\\../x", "a\\b", "\\..\\x"]
CONTROL = [
    "a\0b",
    "\0",
    "../x\0.json",
    "a\nb",
    "a\rb",
    "\x1b[2Ja",
    "a\x7f",
    "a\x85b",
    "a\u2028b",
    "a\u202eb",
    "\u200b..",
    "a\ufeff",
]
ENCODED = [
    "%2e%2e/x",
    "%2e%2e%2fx",
    "..%2fx",
    "%252e%252e%252fx",
    "%c0%ae%c0%ae/x",
    "..%5cx",
    "%2e./x",
    ".%2e/x",
    "%00",
    "a%2fb",
    "%7e/x",
    "%5c",
]
UNICODE = [
    "．．/x",
    "..∕x",
    "..⁄x",
    "..／x",
    "․․/x",
    "‥/x",
    "…/x",
    "a＼b",
    "。。/x",
    "a⧸b",
    "a╱b",
    "﹒﹒/x",
    "..﹨x",
    "a⟋b",
    "｡｡/x",
]
FRAGMENT = [
    "#x",
    "a#b",
    "../#",
    "a#/../../x",
    "a?b",
    "?../x",
    "a?/../..",
    "x.json#/../../y",
    "?",
    "#",
    "a*b",
    "a|b",
    'a"b',
    "a<b",
    "a>b",
]
BLANK = [
    "",
    " ",
    " a",
    "a ",
    "a/ ",
    "a / b",
    ".. /x",
    " ../x",
    "a.",
    "..a/.. ",
    "a/b.",
    "a//b",
    "a/",
    "\t",
    "\u00a0",
    "a/\u3000",
]
LONG = ["a" * 256, "a/" * 600 + "a", "é" * 200, "/".join(["a" * 255] * 5)]
OTHER = [None, 3, b"x", ["a"], Path("a"), "\ud800", "a\udcffb"]
NAMES = UP + ABSOLUTE + DRIVES + BACK + CONTROL + ENCODED + UNICODE + FRAGMENT + BLANK + LONG + OTHER

_opened: list | None = None


def _hook(event: str, args: tuple) -> None:
    if _opened is not None and event == "open":
        _opened.append(args[0])


sys.addaudithook(_hook)


@contextlib.contextmanager
def watched():
    """The paths that are opened inside the block."""
    global _opened
    _opened = []
    try:
        yield _opened
    finally:
        _opened = None


def test_hostile_names(tmp_path):
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (tmp_path / "x").write_text("{}")
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "x").write_text("{}")
    assert len(NAMES) >= 120
    let_through = []
    with watched() as opened:
        for name in NAMES:
            with contextlib.suppress(UnsafeContent):
                path = safe_join(root, name)
                let_through.append(name)
                with contextlib.suppress(MicrotomeError):
                    read_json(path)
    assert let_through == []
    assert opened == []


def test_links_that_leave(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "x").write_text("{}")
    (root / "file").symlink_to(outside / "x")
    (root / "folder").symlink_to(outside)
    (root / "relative").symlink_to("../outside/x")
    (root / "chain").symlink_to("file")
    (root / "passwd").symlink_to("/etc/passwd")
    (root / "root2").symlink_to(tmp_path)
    (root / "dangling").symlink_to(tmp_path / "nothing")
    (root / "loop").symlink_to("loop")
    # blobs beside a folder that is not a repository of the hub cache
    (tmp_path / "snapshots" / "1").mkdir(parents=True)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / "b").write_text("{}")
    (tmp_path / "snapshots" / "1" / "f").symlink_to("../../blobs/b")
    for name in ("file", "folder/x", "relative", "chain", "passwd", "root2/x", "dangling"):
        with pytest.raises(UnsafeContent, match="leaves the folder"):
            safe_join(root, name)
    with pytest.raises(UnsafeContent):
        safe_join(tmp_path / "snapshots" / "1", "f")
    # a repository's snapshot may reach its own blobs and nothing else
    mine, other = _hub(tmp_path / "hub", "models--a--b"), _hub(tmp_path / "hub", "models--c--d")
    (mine / "stolen.json").symlink_to("../../../models--c--d/blobs/feed")
    (mine / "refs.json").symlink_to("../../refs/main")
    for name in ("stolen.json", "refs.json"):
        with pytest.raises(UnsafeContent):
            safe_join(mine, name)
    assert safe_join(other, "config.json").is_file()


def _hub(root: Path, repository: str) -> Path:
    """A snapshot folder as the hub cache makes it."""
    snapshot = root / repository / "snapshots" / "0a1b2c"
    (snapshot / "sub").mkdir(parents=True)
    (root / repository / "refs").mkdir()
    (root / repository / "refs" / "main").write_text("0a1b2c")
    (root / repository / "blobs").mkdir()
    (root / repository / "blobs" / "feed").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/feed")
    (snapshot / "sub" / "deep.json").symlink_to("../../../blobs/feed")
    (snapshot / "absolute.json").symlink_to((root / repository / "blobs" / "feed").absolute())
    return snapshot


def _write(root: Path, name: str) -> tuple[Path, str]:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    return root, name


def _layouts(top: Path):
    """20 honest (root, name)."""
    plain = [
        "config.json", "model-00001-of-00002.safetensors", "a/b/c/d.json", "blocks.3.mlp.hidden/sae_weights.json",
        "v1..2/x.json", "a..b.json", ".hidden/x.json", "name with blanks.json", "héllo/日本語.json", "layer_12-width_16k=1.json",
        "100%/x.json", "a+b@c!(1)[2]{3},'4'.json", "average_l0_71/params.json",
    ]  # fmt: skip
    for i, name in enumerate(plain):
        yield _write(top / f"plain{i}", name)
    snapshot = _hub(top / "hub", "models--openai-community--gpt2")
    yield snapshot, "config.json"
    yield snapshot, "sub/deep.json"
    yield snapshot, "absolute.json"
    yield snapshot / "sub", "deep.json"
    yield _hub(top / "hub", "datasets--a--b"), "config.json"
    _write(top / "real", "x.json")
    (top / "linked").symlink_to("real")
    yield top / "linked", "x.json"
    (top / "real" / "inside.json").symlink_to("x.json")
    yield top / "real", "inside.json"
    (top / "cache").symlink_to(top / "hub")
    yield top / "cache" / "models--openai-community--gpt2" / "snapshots" / "0a1b2c", "config.json"


def test_honest_layouts(tmp_path, monkeypatch):
    layouts = list(_layouts(tmp_path))
    assert len(layouts) >= 20
    for root, name in layouts:
        assert read_json(safe_join(root, name)) == {}
    root, name = layouts[0]
    monkeypatch.chdir(root)
    assert read_json(safe_join(".", name)) == {}
    assert read_json(safe_join("", name)) == {}
    assert safe_join(root, "new/folder/file.json") == root / "new/folder/file.json"


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet=st.sampled_from("./\\%2eEfFa:~ #?\0‥／"), max_size=12))
def test_no_name_escapes(name):
    root = Path("/some/root")
    try:
        path = safe_join(root, name)
    except UnsafeContent as error:
        assert name_problem(name) is not None
        assert "Use a plain relative name" in str(error)  # noqa: PT017
        return
    assert os.path.normpath(path).startswith("/some/root/")
    assert os.path.normpath(path) == str(path)
