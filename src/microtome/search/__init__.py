"""Find the units of a property: score, choose, judge on other data, compare with a null."""

from microtome.search.selective_units import selective_units
from microtome.search.unit_trees import unit_trees

__all__ = ["selective_units", "unit_trees"]
