"""From one layout of dictionaries to another, each read and written by its own module."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from microtome.decompose.formats.circuit_tracer import load_circuit_tracer, save_circuit_tracer
from microtome.decompose.formats.circuit_tracer_layers import load_circuit_tracer_layer, save_circuit_tracer_layer
from microtome.decompose.formats.common import verify
from microtome.decompose.formats.dictionary_learning import load_dictionary_learning, save_dictionary_learning
from microtome.decompose.formats.gemma_scope import load_gemma_scope, save_gemma_scope
from microtome.decompose.formats.openai import load_openai, save_openai
from microtome.decompose.formats.saelens import load_saelens, save_saelens
from microtome.decompose.formats.sparsify import load_sparsify, save_sparsify
from microtome.errors import FormatError, UsageError, nearest
from microtome.subject.basis_files import load_basis

#: Kinds of bases of our own layout that a recording can check.
CHECKED = ("sparse_dictionary", "transcoder", "crosscoder", "row_normalised")


@dataclass(frozen=True)
class Layout:
    """How one layout is read and written.

    Attributes
    ----------
    load, save : callable
        ``load(path, site=, recording=)`` and ``save(dictionary, path)``.
    marks : tuple of str
        Files that a folder of this layout holds, by which it is told from the others.
    names_site : bool
        Whether the files may say which site they belong to; where they cannot, it must be given.
    takes_site : bool
        Whether another site can be given than that of the files.
    """

    load: Callable[..., Any]
    save: Callable[..., None]
    marks: tuple[str, ...] = ()
    names_site: bool = True
    takes_site: bool = True


def _own(path: Path, *, recording: Any = None) -> Any:
    basis = load_basis(path)
    if recording is not None and basis.kind not in CHECKED:
        raise UsageError(f"a basis of kind '{basis.kind}' cannot be checked on a recording; read it without one.")
    return verify(basis, recording)


LAYOUTS = {
    "microtome": Layout(_own, lambda basis, path: basis.save(path), ("basis.json",), takes_site=False),
    "saelens": Layout(load_saelens, save_saelens, ("cfg.json", "sae_weights.safetensors")),
    "dictionary_learning": Layout(load_dictionary_learning, save_dictionary_learning, ("ae.pt",)),
    "sparsify": Layout(load_sparsify, save_sparsify, ("cfg.json", "sae.safetensors")),
    "gemma_scope": Layout(load_gemma_scope, save_gemma_scope, ("params.npz",), names_site=False),
    "openai": Layout(load_openai, save_openai, names_site=False),
    "circuit_tracer": Layout(load_circuit_tracer, save_circuit_tracer, ("config.yaml",), takes_site=False),
    "circuit_tracer_layer": Layout(load_circuit_tracer_layer, save_circuit_tracer_layer),
}


def guess(path: str | Path) -> str:
    """Which layout a path holds, by the names of its files.

    Raises
    ------
    FormatError
        When it is none that is known; names the marks.
    """
    path = Path(path)
    of_file = {".npz": "gemma_scope", ".pt": "openai", ".safetensors": "circuit_tracer_layer"}
    if path.is_file() and path.suffix in of_file:
        return of_file[path.suffix]
    if (path / "params.safetensors").is_file():
        return "gemma_scope"
    for name, layout in LAYOUTS.items():
        if layout.marks and all((path / mark).is_file() for mark in layout.marks):
            return name
    marks = "; ".join(f"{name}: {', '.join(layout.marks)}" for name, layout in LAYOUTS.items() if layout.marks)
    raise FormatError(f"'{path}' holds no layout that is known by its files ({marks}). Name it with read=.")


def load_any(path: str | Path, *, read: str | None = None, site: str | None = None, recording: Any = None) -> Any:
    """A dictionary in any layout, checked on a recording where one is given.

    Parameters
    ----------
    path : path
    read : str, optional
        One of `LAYOUTS`. Default: by the names of the files.
    site : str, optional
        Where the files do not say, or say it in a foreign way.
    recording : Recording, optional
        To check reconstruction, orientation and first tokens on.

    Raises
    ------
    UsageError
        When the layout is unknown, or a site is missing or cannot be given.
    """
    name = guess(path) if read is None else read
    layout = _layout(name)
    if site is None and not layout.names_site:
        raise UsageError(f"files of '{name}' do not say which site they belong to; give site='blocks.12.resid_post'.")
    if site is not None and not layout.takes_site:
        raise UsageError(f"files of '{name}' say which site they belong to; leave site out.")
    return layout.load(Path(path), recording=recording, **({} if site is None else {"site": site}))


def save_as(dictionary: Any, path: str | Path, layout: str) -> None:
    """Write a dictionary in a layout.

    Raises
    ------
    UsageError
        When the layout is unknown or cannot hold this kind of dictionary.
    """
    found = _layout(layout)
    several = hasattr(dictionary, "layers")
    if layout != "microtome" and (not hasattr(dictionary, "W_enc") or several != (layout == "circuit_tracer")):
        kind = type(dictionary).__name__
        raise UsageError(f"layout '{layout}' holds no {kind}; 'microtome' holds every kind.")
    found.save(dictionary, Path(path))


def _layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise UsageError(f"no layout '{name}'; known: {', '.join(LAYOUTS)}.{nearest(name, LAYOUTS)}")
    return LAYOUTS[name]
