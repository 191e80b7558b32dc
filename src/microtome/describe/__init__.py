"""Say it in words: predicates found without a language model, the windows behind them, and scores of descriptions."""

from microtome.describe.description import Description
from microtome.describe.descriptions import Descriptions
from microtome.describe.grammar import parse, words
from microtome.describe.predicate_explainer import predicate_explainer
from microtome.describe.predicates import Atom, Both
from microtome.describe.scores import Detection, detection, fuzzing, per_window, simulation
from microtome.describe.texts import token_texts
from microtome.describe.windows import Window, windows

__all__ = [
    "Atom", "Both", "Description", "Descriptions", "Detection", "Window", "detection", "fuzzing", "parse", "per_window",
    "predicate_explainer", "simulation", "token_texts", "windows", "words",
]
