"""Token texts as a reader sees them: one convention for the marks of all tokenizers."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
SPECIAL = re.compile(r"<\|?[^<>\s]+\|?>|\[[A-Z]+\]")


def token_texts(subject: Any) -> list[str]:
    """The text of every token id of a subject; a leading space says that the token starts a word.

    Parameters
    ----------
    subject : Subject
        With a tokenizer.

    Returns
    -------
    list of str
        One text per id.

    Raises
    ------
    TokenizerError
        When the subject has no tokenizer.

    Notes
    -----
    Null: texts do not depend on the network, so a random network is described in the same words.
    Misleads when a token is a piece of a character: its text is then the replacement character.
    """
    from microtome.errors import TokenizerError

    tokenizer = getattr(subject, "tokenizer", None)
    if tokenizer is None:
        raise TokenizerError("the subject has no tokenizer, so its tokens have no texts; give tokens=[...] by id.")
    names = [str(name) for name in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))]
    if any(name.startswith("Ġ") for name in names):
        return [tokenizer.decode([i]) for i in range(len(names))]
    return readable(names)


def readable(tokens: Iterable[Any]) -> list[str]:
    """Token names with a space where a word starts: "▁the" and "Ġthe" become " the", "##ing" "ing", "<0x0A>" a newline."""
    names = [str(token) for token in tokens]
    pieces = any(name.startswith("##") for name in names)
    return [_piece(name) if pieces else _plain(name) for name in names]


def _piece(name: str) -> str:
    return name[2:] if name.startswith("##") else name if SPECIAL.fullmatch(name) else " " + name


def _plain(name: str) -> str:
    byte = BYTE.fullmatch(name)
    if byte:
        return bytes.fromhex(byte[1]).decode("utf-8", "replace")
    return name.replace("▁", " ").replace("Ġ", " ").replace("Ċ", "\n")


def word(text: str) -> str:
    """A token without its space, in lower case."""
    return text.strip().lower()


def _punctuation(text: str) -> bool:
    bare = text.strip()
    return bool(bare) and not any(c.isalnum() for c in bare) and not SPECIAL.fullmatch(bare)


#: Shape -> test of a token's text.
SHAPES = {
    "digit": lambda text: any(c.isdigit() for c in text),
    "capital": lambda text: text.strip()[:1].isupper(),
    "capitals": lambda text: len(text.strip()) > 1 and text.strip().isupper(),
    "punctuation": _punctuation,
    "whitespace": lambda text: bool(text) and not text.strip(),
    "start": lambda text: text.startswith(" ") and bool(text.strip()),
    "special": lambda text: bool(SPECIAL.fullmatch(text.strip())),
}


def which(kind: str, values: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """Which texts a token-level test accepts: bool[texts]. Kinds: token, word, ending, shape."""
    if kind == "token":
        wanted = set(values)
        found = (text in wanted for text in texts)
    elif kind == "word":
        wanted = set(values)
        found = (word(text) in wanted for text in texts)
    elif kind == "ending":
        ends = tuple(values)
        found = (word(text).endswith(ends) and word(text) not in ends for text in texts)
    else:
        found = (any(SHAPES[v](text) for v in values) for text in texts)
    return np.fromiter(found, dtype=bool, count=len(texts))
