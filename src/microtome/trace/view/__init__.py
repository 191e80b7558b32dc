"""An attribution graph as an interactive page: one HTML file, no network."""

from microtome.trace.view.page import block, drawn, facts, page, script_hash

__all__ = ["block", "drawn", "facts", "page", "script_hash"]
