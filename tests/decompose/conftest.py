"""The planted dictionary that most tests of this folder use."""

import pytest
from planted_dictionary import Planted, plant


@pytest.fixture(scope="session")
def planted() -> Planted:
    return plant()
