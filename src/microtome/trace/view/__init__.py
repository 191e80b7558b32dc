"""An attribution graph as an interactive page: one HTML file, no network."""

from microtome.trace.view.page import block, page

__all__ = ["block", "page"]
