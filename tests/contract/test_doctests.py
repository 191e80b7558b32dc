"""Every example in every docstring of the package runs as printed."""

import doctest
import importlib
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from house import SRC, trees

FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
WITH_EXAMPLES = [f for f in trees() if ">>> " in (SRC / f).read_text(encoding="utf-8") and "__main__" not in f]


@pytest.mark.parametrize("file", WITH_EXAMPLES)
def test_examples(file: str) -> None:
    name = ".".join(("microtome", *Path(file).with_suffix("").parts)).removesuffix(".__init__")
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=FLAGS)
    assert result.failed == 0, f"{result.failed} of {result.attempted} examples of {name} fail (see the output above)"
