"""Check 1: the record is complete."""

import re

from microtome.testing.case import Case
from microtome.testing.report import Failed

SENTENCES = ("cost", "claim", "notion", "serves", "cannot_claim", "gives")
LINK = re.compile(r"(https?://|doi:|arxiv:)\S+", re.IGNORECASE)
#: Nouns that a method may return.
NOUNS = (
    "Basis", "Edit", "Recording", "Attribution", "Effects", "Circuit", "Description", "Finding", "Estimate", "Null", "Reading",
    "Search", "Subject", "Trajectory", "Program", "Card", "Graph",
)  # fmt: skip


def record(case: Case) -> None:
    """Check 1: every field says something, the paper can be found, options in `tiny` and names in `skips` exist."""
    from microtome.testing.checks import CHECKS

    about = case.method
    empty = [name for name in SENTENCES if not str(getattr(about, name)).strip()]
    if empty or not about.needs:
        raise Failed(f"empty fields: {', '.join(empty + ([] if about.needs else ['needs']))}")
    if about.key != case.function.__name__ or not re.fullmatch(r"[a-z][a-z0-9_]*", about.key):
        raise Failed(f"key {about.key!r} is not the snake_case name of the function")
    if not any(noun in about.gives for noun in NOUNS):
        raise Failed(f"gives={about.gives!r} names no noun of {', '.join(NOUNS)}")
    paper = about.paper
    if not (paper.authors and paper.title and 1900 < paper.year < 2100 and LINK.match(paper.link)):
        raise Failed(f"paper is incomplete or its link is none: {paper}")
    options = set(about.tiny) - set(case.parameters)
    if options:
        raise Failed(f"tiny names options that the function lacks: {', '.join(sorted(options))}")
    unknown = [name for name in about.skips if name not in CHECKS]
    if unknown:
        raise Failed(f"skips names unknown checks {unknown}; known: {', '.join(CHECKS)}")
    bare = [name for name, reason in about.skips.items() if len(reason.split()) < 3]
    if bare:
        raise Failed(f"skips without a reason in words: {', '.join(bare)}")
