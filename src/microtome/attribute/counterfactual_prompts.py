"""The three questions of a counterfactual pipeline, and parsers that refuse what is not an answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any, TypeVar

from microtome.errors import FormatError
from microtome.io import parse_json

T = TypeVar("T")
Complete = Callable[[str], str]

FEATURES = (
    "Task: latent features.\nA classifier labels this text as '{label}' (of: {labels}).\n<text>{text}</text>\n"
    'Name up to three latent, high-level features of the text that lead to the label. Answer in JSON: {{"features": ["..."]}}'
)
SPANS = (
    "Task: which words.\nThe text is labelled '{label}' because of: {features}.\n<text>{text}</text>\n"
    'For each feature, which words of the text express it? Answer in JSON: {{"spans": {{"feature": ["word", "..."]}}}}'
)
REWRITE = (
    "Task: counterfactual.\nThe text is labelled '{label}'.\n<text>{text}</text>\n"
    "Change only these words, as few as possible: {words}. The label should become '{target}'. "
    'Answer in JSON: {{"text": "..."}}'
)


@dataclass
class Calls:
    """A language model behind one function, with a cache, retries and a count.

    Attributes
    ----------
    complete : callable, prompt -> answer
    retries : how often a malformed answer is asked for again
    asked, malformed : counts over all calls
    """

    complete: Complete
    retries: int = 3
    asked: int = 0
    malformed: int = 0
    cache: dict[str, str] = field(default_factory=dict)

    def ask(self, prompt: str, parse: Callable[[str], T]) -> T | None:
        """The parsed answer, or None when all were malformed. A retry says what was wrong, so it is another prompt."""
        current = prompt
        for _ in range(self.retries + 1):
            if current not in self.cache:
                self.asked += 1
                self.cache[current] = str(self.complete(current))
            try:
                return parse(self.cache[current])
            except FormatError as error:
                self.malformed += 1
                current = f"{current}\nYour last answer could not be used: {error} Answer in the format asked for."
        return None


def parse_features(answer: str) -> list[str]:
    """Names of latent features."""
    return _texts(_object(answer), "features")


def parse_spans(answer: str, text: str) -> list[str]:
    """Words that express the features; those that are not in the text are refused."""
    spans = _object(answer).get("spans")
    if not isinstance(spans, Mapping) or not spans:
        raise FormatError("there is no object 'spans' with a list of words for each feature.")
    words = [w for part in spans.values() if isinstance(part, list) for entry in part for w in str(entry).split()]
    present = set(text.split())
    invented = sorted({w for w in words if w not in present})
    if invented or not words:
        raise FormatError(f"these words are not in the text: {invented[:5]}." if invented else "no words were named.")
    return list(dict.fromkeys(words))


def parse_rewrite(answer: str, text: str, budget: float) -> str:
    """The counterfactual; one that is the same, or edits more of the text than `budget`, is refused."""
    found = _object(answer).get("text")
    if not isinstance(found, str) or not found.strip():
        raise FormatError("there is no 'text'.")
    share = edited_share(text, found)
    if share == 0.0 or share > budget:
        raise FormatError(f"{100 * share:.0f}% of the words were changed; change some, and at most {100 * budget:.0f}%.")
    return found.strip()


def edited_share(text: str, other: str) -> float:
    """Words replaced, inserted or deleted, as a share of the words of the first text."""
    return sum(max(b - a, d - c) for _, a, b, c, d in _changes(text, other)) / max(1, len(text.split()))


def edited_words(text: str, other: str) -> list[str]:
    """Words of the first text that were replaced or deleted."""
    words = text.split()
    return [w for _, a, b, _, _ in _changes(text, other) for w in words[a:b]]


def _changes(text: str, other: str) -> list[tuple[str, int, int, int, int]]:
    matcher = SequenceMatcher(None, text.split(), other.split(), autojunk=False)
    return [op for op in matcher.get_opcodes() if op[0] != "equal"]


def _object(answer: str) -> Mapping[str, Any]:
    """The JSON object in an answer, whatever stands around it."""
    start, stop = answer.find("{"), answer.rfind("}")
    if start < 0 or stop < start:
        raise FormatError("there is no JSON object.")
    found = parse_json(answer[start : stop + 1].encode())
    if not isinstance(found, Mapping):
        raise FormatError("the answer is no JSON object.")
    return found


def _texts(found: Mapping[str, Any], name: str) -> list[str]:
    values = found.get(name)
    if not isinstance(values, list) or not values or not all(isinstance(v, str) and v.strip() for v in values):
        raise FormatError(f"there is no list '{name}' of texts.")
    return [v.strip() for v in values]
