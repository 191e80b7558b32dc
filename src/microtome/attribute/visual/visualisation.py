"""Visualisation: pictures that raise an objective, how far they raise it, and the same made on a twin that learned nothing."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from microtome.attribute.stored import read_stored, write_stored
from microtome.errors import FormatError, ShapeError, UsageError
from microtome.evidence import Finding, Null, Provenance, bootstrap

if TYPE_CHECKING:
    import pandas as pd

_TENSORS = ("images", "curve", "score", "real")
_FACTS = {"target": str, "subject": str, "data": str, "settings": dict}


@dataclass(frozen=True, eq=False)
class Visualisation:
    """Pictures made for an objective.

    Attributes
    ----------
    images : Tensor[n, channels, *places]
        As the network takes them.
    curve : Tensor[steps, n]
        The objective on the way, of the shaken pictures.
    score : Tensor[n]
        The objective of the pictures as they are.
    real : Tensor[m]
        The objective of the real pictures.
    target : str
        What was raised.
    null : Visualisation or None
        Pictures made in the same way on a twin that learned nothing: ``curve`` is the twin's own, ``score`` what the subject
        says of them.
    subject, data : str
        Fingerprints.
    settings : dict
    """

    images: Tensor
    curve: Tensor
    score: Tensor
    real: Tensor
    target: str
    null: "Visualisation | None" = None
    subject: str = ""
    data: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.curve.ndim != 2 or not len(self.images) == len(self.score) == self.curve.shape[1]:
            raise ShapeError(f"{len(self.images)} pictures, {len(self.score)} scores, a curve {list(self.curve.shape)}.")

    @property
    def percentile(self) -> Tensor:
        """Share of the real pictures that excite the target less, in per cent [n]."""
        return 100 * (self.real[None] < self.score[:, None]).double().mean(1)

    @property
    def table(self) -> "pd.DataFrame":
        """One row per picture: picture, first and last of the curve, score, percentile, null (of the twin's picture)."""
        import pandas as pd

        rows = {"picture": range(len(self)), "start": self.curve[0], "end": self.curve[-1], "score": self.score,
                "percentile": self.percentile}  # fmt: skip
        if self.null is not None:
            rows["null"] = self.null.score
        return pd.DataFrame({name: np.asarray(values) for name, values in rows.items()})

    def finding(self, *, alpha: float = 0.05) -> Finding:
        """That the pictures excite the target more than a twin's do: the mean score, against each of the twin's pictures.

        Raises
        ------
        UsageError
            When no twin was asked for.
        """
        if self.null is None:
            raise UsageError("made without a twin, so there is nothing to compare with; ask for twin='reinit'.")
        found = bootstrap(self.score.double().numpy()) if len(self) > 1 else None
        mean = float(self.score.double().mean())
        return Finding(
            f"pictures made for {self.target} excite it more than those made on a network that learned nothing",
            estimate=found, nulls=(Null("pictures made on a twin", self.null.score.double().numpy(), mean),),
            controls={"score": mean, "percentile among real pictures": float(self.percentile.mean())},
            table=self.table, alpha=alpha, provenance=Provenance(subject=self.subject, data=self.data),
            notes=() if len(self) >= 19 else (f"{len(self)} pictures: p cannot be below {1 / (1 + len(self)):.2g}",),
        )  # fmt: skip

    def grid(self, columns: int = 0, border: int = 1) -> Tensor:
        """A view: all pictures side by side in [0, 1], [y, x, channels], for any program that shows pictures.

        Raises
        ------
        ShapeError
            When the pictures are not flat.
        """
        if self.images.ndim != 4:
            raise ShapeError(f"only pictures with two axes of places form a grid, got {list(self.images.shape)}.")
        n, c, h, w = self.images.shape
        across = columns or int(np.ceil(np.sqrt(n)))
        low, high = self.images.min(), self.images.max()
        down = -(-n // across)
        sheet = torch.ones(down * (h + border) + border, across * (w + border) + border, c)
        for i, picture in enumerate((self.images - low) / (high - low).clamp(min=1e-12)):
            y, x = (border + k * (s + border) for k, s in zip(divmod(i, across), (h, w), strict=True))
            sheet[y : y + h, x : x + w] = picture.permute(1, 2, 0)
        return sheet

    def __len__(self) -> int:
        return len(self.images)

    def save(self, path: str | Path) -> None:
        """Write as one safetensors file with its facts in the header."""
        tensors = {name: getattr(self, name) for name in _TENSORS}
        if self.null is not None:
            tensors |= {f"null.{name}": getattr(self.null, name) for name in _TENSORS}
        facts = {name: getattr(self, name) for name in _FACTS}
        write_stored(path, "visualisation", tensors, {**facts, "twin": "" if self.null is None else self.null.subject})

    @classmethod
    def load(cls, path: str | Path) -> "Visualisation":
        """Read what `save` wrote.

        Raises
        ------
        FormatError
            When the file is not a visualisation.
        """
        tensors, facts = read_stored(path, "visualisation")
        twin = facts.pop("twin", None)
        inner = {k[5:]: tensors.pop(k) for k in list(tensors) if k.startswith("null.")}
        wrong = {name for name, kind in _FACTS.items() if not isinstance(facts.get(name), kind)} | (set(facts) - set(_FACTS))
        wrong |= (set(tensors) ^ set(_TENSORS)) | (set(inner) ^ set(_TENSORS) if inner else set())
        if wrong or not isinstance(twin, str):
            raise FormatError(f"'{path}' is a damaged visualisation: missing, unknown or of a wrong kind: {sorted(wrong)}.")
        try:
            found = cls(**tensors, **facts)
            return found if not inner else replace(found, null=cls(**inner, **{**facts, "subject": twin}))
        except ShapeError as error:
            raise FormatError(f"'{path}' is a damaged visualisation: {error}") from error

    def __repr__(self) -> str:
        rest = "" if self.null is None else f"; of a twin's pictures {float(self.null.score.mean()):.3g}"
        return (f"Visualisation({len(self)} of {self.target}: score {float(self.score.mean()):.3g}, above "
                f"{float(self.percentile.mean()):.3g}% of real pictures{rest})")  # fmt: skip
