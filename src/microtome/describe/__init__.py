"""Say it in words: predicates found without a language model, the windows behind them, and scores of descriptions."""

from microtome.describe.description import Description
from microtome.describe.descriptions import Descriptions
from microtome.describe.grammar import parse, words
from microtome.describe.predicate_explainer import predicate_explainer
from microtome.describe.predicates import Atom, Both
from microtome.describe.texts import token_texts

__all__ = ["Atom", "Both", "Description", "Descriptions", "parse", "predicate_explainer", "token_texts", "words"]
