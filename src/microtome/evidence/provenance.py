"""Where a finding comes from and what it cost."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from microtome.errors import UsageError
from microtome.evidence._arrays import count
from microtome.evidence.estimate import known_fields, number_of

FIELDS = ("subject", "data", "code", "seed", "versions", "seconds", "forwards")
LIBRARIES = ("microtome", "torch", "transformers", "numpy", "scipy", "sklearn", "pandas")


@dataclass(frozen=True)
class Provenance:
    """Hashes of what went in, the seed, the versions, and the cost.

    Parameters
    ----------
    subject, data, code : str, default ""
        Fingerprints (or names) of the network, of the stimuli or recording, and of the method.
    seed : int, default 0
        The seed of every draw.
    versions : mapping of str to str
        Library versions; `library_versions()` collects them.
    seconds : float, default 0.0
        Wall-clock time, in seconds.
    forwards : float, default 0.0
        Cost in forward passes of one sample; a backward pass counts as two.

    Examples
    --------
    >>> Provenance(subject="organism:language", seed=3).seed
    3
    """

    subject: str = ""
    data: str = ""
    code: str = ""
    seed: int = 0
    versions: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    forwards: float = 0.0

    def __post_init__(self) -> None:
        for name in ("subject", "data", "code"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"Provenance {name} must be text (a fingerprint), got {type(getattr(self, name)).__name__}.")
        if not isinstance(self.versions, Mapping):
            raise UsageError(f"Provenance versions must map names to texts, got {type(self.versions).__name__}.")
        if not all(isinstance(k, str) and isinstance(v, str) for k, v in self.versions.items()):
            raise UsageError(f"Provenance versions must map names to texts, got {dict(self.versions)!r}.")
        object.__setattr__(self, "seed", count(self.seed, "seed", least=0))
        object.__setattr__(self, "versions", dict(self.versions))
        for name in ("seconds", "forwards"):
            number = number_of(getattr(self, name), f"Provenance {name}")
            if number < 0:
                raise UsageError(f"Provenance {name} must be >= 0, got {number}.")
            object.__setattr__(self, name, number)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Provenance":
        """The provenance that `to_dict` described; FormatError when it is not one."""
        return cls(**known_fields(data, FIELDS, "Provenance"))


def library_versions() -> dict[str, str]:
    """Versions of the libraries that are loaded now; it imports nothing.

    >>> "numpy" in library_versions()
    True
    """
    loaded = {name: getattr(sys.modules.get(name), "__version__", None) for name in LIBRARIES}
    return {name: str(version) for name, version in loaded.items() if version is not None}
