"""Typed errors. Each names what was asked, what was found, and the way out.

All derive from `MicrotomeError`, so ``except mt.MicrotomeError`` catches what this package raises on purpose
and nothing else. The command line maps them to exit codes (`exit_code`): 1 failed, 2 usage, 3 refused for
safety, 4 budget.
"""

import difflib
from collections.abc import Iterable


class MicrotomeError(Exception):
    """Base of every error that microtome raises on purpose."""

    exit_code = 1


class UsageError(MicrotomeError, ValueError):
    """An argument is outside what a function accepts."""

    exit_code = 2


class SiteError(UsageError):
    """A site name does not exist in the subject, or does not have the axis that was asked for."""


class ShapeError(UsageError):
    """A tensor does not have the shape that the place it goes to requires."""


class EditTouchedNothing(MicrotomeError):
    """An edit matched no cell, or its site never fired during the run."""


class NotEditable(MicrotomeError):
    """A recorded-only subject was asked to run or to be edited."""


class NonFinite(MicrotomeError):
    """NaN or infinity where a number is needed; says where and how many."""


class Degenerate(MicrotomeError):
    """The data cannot answer the question: empty, constant, one class, fewer rows than parameters."""


class SubjectMismatch(MicrotomeError):
    """A basis, recording, study or circuit belongs to another model, tokenizer or site."""


class TokenizerError(MicrotomeError):
    """The tokenizer is missing, does not fit the model, or an answer is not a single token."""


class FormatError(MicrotomeError):
    """A file is not what it claims to be, is damaged, or has an unknown layout."""


class UnsafeContent(FormatError):
    """A file would run code or leave its folder; refused. There is no fallback."""

    exit_code = 3


class IntegrityError(FormatError):
    """A stored file no longer matches its recorded hash."""


class BudgetExceeded(MicrotomeError):
    """The work does not fit the stated memory, disk or call budget."""

    exit_code = 4


class StorageError(MicrotomeError):
    """The disk refused a write or a read. What was committed before is intact."""


class StudyLocked(MicrotomeError):
    """Another process is writing this study or recording."""


class MissingExtra(MicrotomeError, ImportError):
    """An optional dependency is needed; the message holds the install command."""

    exit_code = 2

    @classmethod
    def of(cls, package: str, extra: str) -> "MissingExtra":
        """The standard message for a missing optional package."""
        return cls(f"'{package}' is not installed. Install it with: pip install 'microtome[{extra}]'")


def nearest(name: str, known: Iterable[str], n: int = 3) -> str:
    """A ' Did you mean ...?' clause with the nearest known names, or the empty string."""
    close = difflib.get_close_matches(name, list(known), n=n, cutoff=0.4)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""
