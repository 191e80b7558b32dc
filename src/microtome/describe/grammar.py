"""Predicates in words and back: every predicate has one sentence, and the sentence gives the predicate.

A sentence is made of fixed phrases and quoted texts (JSON strings), so that no token can be taken for grammar.
"""

import json
import re

from microtome.describe.predicates import DEPTH, RECENT, Atom, Both, Predicate
from microtome.errors import FormatError

SUBJECTS = {0: "the token", -1: "the previous token", -2: "the token before the previous one", 1: "the next token"}
SHAPE_WORDS = {
    "digit": "has a digit", "capital": "is capitalised", "capitals": "is in capitals", "punctuation": "is punctuation",
    "whitespace": "is whitespace", "start": "starts a word", "special": "is a special token",
}  # fmt: skip
VERBS = {"token": "is", "word": "in lower case is", "ending": "ends in"}
FIXED = {
    "any row": Atom("any"),
    "the token was seen before": Atom("seen"),
    "the token and the one before it were seen together before": Atom("pair"),
    "inside brackets": Atom("inside", ("brackets",)),
    "inside quotes": Atom("inside", ("quotes",)),
}
WORDS_OF = {atom: text for text, atom in FIXED.items()}

STRING = r'"(?:[^"\\]|\\.)*"'
TEXTS = rf"(?:one of )?{STRING}(?:, {STRING})*"
_subject = "|".join(map(re.escape, sorted(SUBJECTS.values(), key=len, reverse=True)))
_shape = "|".join(map(re.escape, SHAPE_WORDS.values()))
#: Kind -> the form of its sentence. Tried in this order; longer fixed phrases come first.
FORMS = {
    "fixed": re.compile("|".join(map(re.escape, sorted(FIXED, key=len, reverse=True)))),
    "shape": re.compile(rf"(?P<subject>{_subject}) (?P<shape>(?:{_shape})(?: or (?:{_shape}))*)(?= and | or |\)|$)"),
    "token": re.compile(rf"(?P<subject>{_subject}) is (?P<texts>{TEXTS})", re.DOTALL),
    "word": re.compile(rf"(?P<subject>{_subject}) in lower case is (?P<texts>{TEXTS})", re.DOTALL),
    "ending": re.compile(rf"(?P<subject>{_subject}) ends in (?P<texts>{TEXTS})", re.DOTALL),
    "recent": re.compile(rf"among the {RECENT} tokens before is (?P<texts>{TEXTS})", re.DOTALL),
    "earlier": re.compile(rf"earlier in the text is (?P<texts>{TEXTS})", re.DOTALL),
    "position": re.compile(r"the position is below (?P<number>-?\d+)"),
    "place": re.compile(r"(?P<axis>[yx]) is (?P<side>below|from) (?P<number>-?\d+)"),
    "tag": re.compile(rf"the document's (?P<texts>{STRING}(?: is ){STRING})", re.DOTALL),
    "label": re.compile(rf"the row is labelled (?P<texts>{STRING})", re.DOTALL),
}


def words(predicate: Predicate) -> str:
    """The sentence of a predicate.

    Examples
    --------
    >>> words(Both("and", Atom("token", (" the",)), Atom("shape", ("punctuation",), -1)))
    'the token is " the" and the previous token is punctuation'
    """
    if isinstance(predicate, Both):
        sides = [f"({words(side)})" if isinstance(side, Both) else words(side) for side in (predicate.left, predicate.right)]
        return f" {predicate.operator} ".join(sides)
    if predicate in WORDS_OF:
        return WORDS_OF[predicate]
    kind, values = predicate.kind, predicate.values
    if kind == "shape":
        return f"{SUBJECTS[predicate.offset]} {' or '.join(SHAPE_WORDS[str(v)] for v in values)}"
    if kind in VERBS:
        return f"{SUBJECTS[predicate.offset]} {VERBS[kind]} {_texts(values)}"
    if kind == "position":
        return f"the position is below {values[0]}"
    if kind == "place":
        return f"{values[0]} is {values[1]} {values[2]}"
    if kind == "tag":
        return f"the document's {_quoted(values[0])} is {_quoted(values[1])}"
    start = {"recent": f"among the {RECENT} tokens before is", "earlier": "earlier in the text is"}
    return f"{start[kind]} {_texts(values)}" if kind in start else f"the row is labelled {_quoted(values[0])}"


def parse(text: str) -> Predicate:
    """The predicate of a sentence.

    Raises
    ------
    FormatError
        When the text is no such sentence; says where it stops making sense.

    Examples
    --------
    >>> parse('the token has a digit and not (inside quotes or the position is below 4)').operator
    'and not'
    """
    found, end = _expression(text, 0, DEPTH)
    if end != len(text):
        raise _lost(text, end)
    return found


def _expression(text: str, at: int, depth: int) -> tuple[Predicate, int]:
    left, at = _operand(text, at, depth)
    joint = re.compile(" (and not|and|or) ").match(text, at)
    if joint is None:
        return left, at
    right, at = _operand(text, joint.end(), depth)
    return Both(joint[1], left, right), at


def _operand(text: str, at: int, depth: int) -> tuple[Predicate, int]:
    if depth < 1:
        raise FormatError(f"a predicate is at most {DEPTH} brackets deep.")
    if text.startswith("(", at):
        inner, at = _expression(text, at + 1, depth - 1)
        if not text.startswith(")", at):
            raise _lost(text, at)
        return inner, at + 1
    for kind, form in FORMS.items():
        match = form.match(text, at)
        if match:
            return _atom(kind, match), match.end()
    raise _lost(text, at)


def _atom(kind: str, match: re.Match) -> Atom:
    if kind == "fixed":
        return FIXED[match[0]]
    named = match.groupdict()
    offset = next((o for o, subject in SUBJECTS.items() if subject == named.get("subject")), 0)
    if kind == "shape":
        shapes = {phrase: name for name, phrase in SHAPE_WORDS.items()}
        return Atom("shape", tuple(shapes[p] for p in named["shape"].split(" or ")), offset)
    if kind == "position":
        return Atom("position", (int(named["number"]),))
    if kind == "place":
        return Atom("place", (named["axis"], named["side"], int(named["number"])))
    try:
        return Atom(kind, tuple(json.loads(quoted) for quoted in re.findall(STRING, named["texts"], re.DOTALL)), offset)
    except ValueError as error:
        raise FormatError(f"the quoted text in {match[0][:80]!r} is not a JSON string.") from error


def _texts(values: tuple) -> str:
    return ("one of " if len(values) > 1 else "") + ", ".join(map(_quoted, values))


def _quoted(value: object) -> str:
    return json.dumps(str(value), ensure_ascii=False)


def _lost(text: str, at: int) -> FormatError:
    return FormatError(f"no predicate is read from {text[at:at + 60]!r} (place {at} of {text[:200]!r}).")
