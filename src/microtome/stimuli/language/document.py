"""Documents of a generated world: words, the truth about them, and where a perfect reader knows the next word."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Document:
    """Words with their truth; all places are word indices, end exclusive.

    Attributes
    ----------
    words : tuple of str
    spans : tuple of (property, start, end)
        What is true of a stretch because of its place in the document.
    answers : tuple of int
        Words that can be told from what stands before them.
    asked : int
        The answer that a task asks for; -1 when the document has none.
    roles : dict of name -> int
        Words that play a part in the behaviour.
    labels : dict
        Truths about the whole document: columns of the corpus table.
    """

    words: tuple[str, ...]
    spans: tuple[tuple[str, int, int], ...] = ()
    answers: tuple[int, ...] = ()
    asked: int = -1
    roles: dict[str, int] = field(default_factory=dict)
    labels: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The words joined by single spaces."""
        return " ".join(self.words)

    def __add__(self, other: "Document") -> "Document":
        """One document after the other; the question of the second is the one asked."""
        n = len(self.words)
        return Document(
            self.words + other.words,
            self.spans + tuple((name, start + n, end + n) for name, start, end in other.spans),
            self.answers + tuple(i + n for i in other.answers),
            other.asked + n if other.asked >= 0 else self.asked,
            {role: i + n for role, i in other.roles.items()},
            {**self.labels, **other.labels},
        )


class Draft:
    """Writes a document word by word.

    >>> d = Draft().say("the ball is").put("red", "colour", role="colour").say(". it is").ask("red").done()
    >>> d.text, d.roles, d.words[d.asked]
    ('the ball is red . it is red', {'colour': 3}, 'red')
    """

    def __init__(self) -> None:
        self.words: list[str] = []
        self._spans: list[tuple[str, int, int]] = []
        self._answers: list[int] = []
        self._asked = -1
        self._roles: dict[str, int] = {}

    def say(self, text: str) -> "Draft":
        """Add plain words."""
        self.words += text.split()
        return self

    def put(self, word: str, *properties: str, role: str = "") -> "Draft":
        """Add one word that has `properties` and plays `role`."""
        here = len(self.words)
        self._spans += [(name, here, here + 1) for name in properties]
        if role:
            self._roles[role] = here
        self.words.append(word)
        return self

    def ask(self, word: str, *properties: str, asked: bool = True, role: str = "") -> "Draft":
        """Add one word that a perfect reader can predict; `asked` makes it the question of the task (the last wins)."""
        self._answers.append(len(self.words))
        if asked:
            self._asked = len(self.words)
        return self.put(word, *properties, role=role)

    def mark(self, name: str, start: int, end: int | None = None) -> "Draft":
        """Give the words from `start` to `end` (default: up to here) the property `name`."""
        self._spans.append((name, start, len(self.words) if end is None else end))
        return self

    def done(self, labels: dict[str, Any] | None = None) -> Document:
        """The finished document, with truths about the whole of it."""
        return Document(
            tuple(self.words), tuple(self._spans), tuple(self._answers), self._asked, dict(self._roles), labels or {}
        )
