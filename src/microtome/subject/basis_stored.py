"""What the bases of this package share: who they belong to, the width check, save, fingerprint, figures of the fit."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from microtome import io
from microtome.errors import ShapeError, UsageError
from microtome.subject.unit import Unit

if TYPE_CHECKING:
    import pandas


class StoredBasis:
    """What the bases of this package share: identity of the site and subject, the width check, save and fingerprint.

    A subclass sets `kind` and `width`, and gives `tensors()`, `config()` and `from_parts()`.

    Attributes
    ----------
    site : str
        Where the coordinates live.
    name : str
        Short name used when a unit is printed; empty for the neurons themselves.
    names : list of str or None
        A name for each coordinate.
    subject : str
        Fingerprint of the subject the basis was fitted on; empty when it fits any.
    metrics : dict
        Figures of the fit, e.g. ``fvu``, ``l0``, ``dead``.
    history : dict of list
        The training curve, column by column; `training` shows it as a table.
    """

    kind: ClassVar[str] = ""
    width: int

    def __init__(self, site: str, *, name: str = "", names: list[str] | None = None, subject: str = "") -> None:
        self.site, self.name, self.names, self.subject = site, name, names, subject
        self.metrics: dict[str, float] = {}
        self.history: dict[str, list] = {}
        if names is not None and len(names) != self.dim:
            raise ShapeError(f"{len(names)} names were given for a basis of {self.dim} coordinates at '{site}'.")

    @property
    def dim(self) -> int:
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that define the basis."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """The settings, beside the tensors, that define the basis (JSON values)."""
        return {}

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], config: dict[str, Any], **about: Any) -> "StoredBasis":
        """The basis that `tensors()` and `config()` came from; `about` holds site, name, names and subject."""
        raise NotImplementedError

    @cached_property
    def fingerprint(self) -> str:
        """Hash of kind, site, settings and tensors."""
        what = [self.kind, self.site, self.config(), io.hash_tensors(self.tensors())]
        return io.hash_bytes(io.dump_json(what))

    @property
    def training(self) -> "pandas.DataFrame":
        """The training curve as a DataFrame; empty where nothing was trained."""
        import pandas

        return pandas.DataFrame(self.history)

    def unit(self, index: int) -> Unit:
        """The unit of coordinate `index`."""
        if not 0 <= index < self.dim:
            raise UsageError(f"unit {index} was asked of a basis with {self.dim} coordinates (0..{self.dim - 1}).")
        return Unit(self.site, self.name, index)

    def save(self, folder: str | Path) -> None:
        """Write ``basis.safetensors`` and ``basis.json`` to `folder`; `load_basis` reads them."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.tensors().items()}
        about = {"kind": self.kind, "format": 1, "site": self.site, "name": self.name, "names": self.names}
        about |= {"subject": self.subject, "config": self.config(), "metrics": self.metrics}
        about |= {"history": [list(column) for column in self.history.items()]}
        about["hash"] = io.hash_tensors(tensors)
        io.write_tensors(folder / "basis.safetensors", tensors)
        io.write_json(folder / "basis.json", about)

    def __repr__(self) -> str:
        figures = "".join(f", {k}={v:.4g}" for k, v in self.metrics.items())
        return f"{type(self).__name__}({self.name or self.kind} at '{self.site}': {self.width} -> {self.dim}{figures})"


def check_width(x: Tensor, width: int, what: str) -> None:
    """Refuse a tensor whose last axis is not `width`, or that holds no floating-point numbers."""
    if x.ndim == 0 or x.shape[-1] != width:
        raise ShapeError(f"{what} takes tensors [..., {width}], got shape {tuple(x.shape)}.")
    if not x.is_floating_point():
        raise ShapeError(f"{what} takes floating-point tensors, got {x.dtype}; convert with .float().")
