"""Keys and passwords, kept out of everything that is written or printed."""

import logging
import os
import re
import secrets
import traceback
import weakref
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from microtome.errors import UsageError

MASK = "***"
_SHORTEST = 6  # a shorter value would blank out ordinary words
_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)$", re.IGNORECASE)
_PATTERNS = (
    # scheme://user:password@host
    (re.compile(r"(?P<keep>\b[a-z][a-z0-9+.-]*://)[^/\s@'\"<>]+@", re.IGNORECASE), rf"\g<keep>{MASK}@"),
    (
        re.compile(r"(?P<keep>\b(?:bearer|basic|token)\s+)(?=[^\s,;'\"]*[\d._~+/=-])[^\s,;'\"]{8,}", re.IGNORECASE),
        rf"\g<keep>{MASK}",
    ),
    (
        re.compile(
            r"(?P<keep>(?:authorization|api[-_]?key|access[-_]?key|access[-_]?token|auth[-_]?token|hf[-_]?token|secret"
            r"|client[-_]?secret|password|passwd|x-api-key)[\"']?\s*[:=]\s*[\"']?)"
            rf"(?!(?:bearer|basic)\s|{re.escape(MASK)})[^\s\"',;&<>]{{4,}}",
            re.IGNORECASE,
        ),
        rf"\g<keep>{MASK}",
    ),
    (
        re.compile(r"\b(?:sk-|hf_|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|AKIA|AIza|pypi-|npm_)[A-Za-z0-9_-]{12,}"),
        MASK,
    ),
)
# Weak: a secret is redacted everywhere as long as the program holds it.
_held: "weakref.WeakSet[Secret]" = weakref.WeakSet()


class Secret:
    """A key that shows as ``***``; `reveal` is the only way to its value.

    Examples
    --------
    >>> key = Secret("sk-very-private")
    >>> key, f"{key}", redact("sent sk-very-private")
    (***, '***', 'sent ***')
    """

    __slots__ = ("__weakref__", "_value")

    def __init__(self, value: str):
        self._value = value
        _held.add(self)

    def reveal(self) -> str:
        """The value, for the one call that sends it."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and secrets.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return id(self)  # not of the value: hashes end up in caches and logs

    def __reduce__(self) -> Any:
        raise UsageError("a Secret is not stored or sent to another process. Read it there from the environment.")


def redact(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Replace by ``***`` every secret that is known or looks like one.

    Known: values of environment variables whose name ends in KEY, TOKEN, SECRET, PASSWORD or the like, and every live
    `Secret`, also percent-encoded. Looks like one: bearer and basic headers, the user part of a URL, values after
    ``api_key=``, ``password:`` and such, and the prefixes of common services.

    Parameters
    ----------
    text : str
        What is about to be written or printed.
    environment : mapping, optional
        Default: the environment of this process.

    Returns
    -------
    str
        The same text without the secrets.

    Examples
    --------
    >>> redact("git clone https://me:pass@host/x with zz-private", {"MY_TOKEN": "zz-private"})
    'git clone https://***@host/x with ***'
    """
    environment = os.environ if environment is None else environment
    known = {value.strip() for name, value in environment.items() if _NAMES.search(name)}
    known |= {secret.reveal().strip() for secret in list(_held)}
    known = {value for value in known if len(value) >= _SHORTEST}
    known |= {quote(value, safe="") for value in known}
    for value in sorted(known, key=len, reverse=True):  # the longest first: one may be part of another
        text = text.replace(value, MASK)
    for pattern, mask in _PATTERNS:
        text = pattern.sub(mask, text)
    return text


class RedactFilter(logging.Filter):
    """A logging filter that redacts message, arguments, traceback and stack of every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # a broken log call must not print its arguments either
            message = "a log message that could not be formatted"
        record.msg, record.args = redact(message), None
        if record.exc_info and not isinstance(record.exc_info, bool):
            record.exc_text = redact("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
            record.exc_info = None
        elif record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True
