"""A study as one self-contained HTML page: findings first, each beside its null; no script, nothing fetched."""

from microtome.study.report.render import render

__all__ = ["render"]
