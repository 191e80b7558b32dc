"""The head of a page about attributions of a task: whose they are, what was asked, and with which versions."""

from collections.abc import Mapping, Sequence
from typing import Any

from microtome.attribute.attribution import Attribution
from microtome.study.blocks import Section


def task_page(
    title: str, subject: Any, task: Any, about: Attribution, sections: Sequence[Section], facts: Mapping[str, str], *, seed: int
) -> str:
    """One self-contained HTML page.

    Parameters
    ----------
    title : str
    subject, task
        Named below the title.
    about : Attribution
        Any of those on the page: it holds the fingerprints of subject and task.
    sections : sequence of Section
    facts : mapping
        What else a reader needs to make the page again.
    seed : int
        Printed.

    Returns
    -------
    str
    """
    from microtome.evidence import library_versions
    from microtome.study.report import render

    known = {
        "subject": f"{subject.name} ({about.subject[:16]})", "task": f"{task.name} ({about.data[:16]}), {len(task)} examples",
        **facts, "seed": str(seed), **{f"version of {k}": v for k, v in library_versions().items()},
    }  # fmt: skip
    return render(title, f"{subject.name}, task '{task.name}'", list(sections), known)
