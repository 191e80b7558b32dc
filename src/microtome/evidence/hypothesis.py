"""A prediction written down, and sealed, before the data are seen."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from microtome.errors import IntegrityError, UsageError, nearest
from microtome.evidence._arrays import share
from microtome.evidence.correlation import circular_shift_test, correlation_test
from microtome.evidence.estimate import Estimate, known_fields
from microtome.evidence.finding import Finding
from microtome.evidence.null import Null, check_alternative
from microtome.evidence.permutation import permutation_test
from microtome.evidence.provenance import Provenance

FIELDS = ("claim", "statistic", "null", "alternative", "alpha", "refuted_by", "seal")
#: Nulls that `Hypothesis.test_data` can run itself.
TESTS = {"permutation": permutation_test, "correlation": correlation_test, "circular_shift": circular_shift_test}


@dataclass(frozen=True)
class Hypothesis:
    """A claim, the statistic and null that will test it, and what would refute it.

    `register()` seals a hash of all fields. A hypothesis that is not sealed, or was edited after, cannot be tested.

    Parameters
    ----------
    claim : str
        One sentence that can be wrong.
    statistic : str
        Name of the statistic that will be compared.
    null : str
        What will be randomised, e.g. "weights re-drawn"; "permutation", "correlation" and "circular_shift" run from data.
    alternative : {"greater", "less", "two-sided"}, default "greater"
        Which deviation the claim predicts.
    alpha : float, default 0.05
        Level of the test.
    refuted_by : str, default ""
        The outcome that would refute the claim. When empty: "p > alpha".
    seal : str, default ""
        Set by `register()`.

    Raises
    ------
    UsageError
        When a field is empty or outside its range.

    Notes
    -----
    Null: supported at rate alpha when nothing is there.
    Misleads when several hypotheses are registered and one is reported. "Refuted" is said of the registered prediction;
    it does not show that the effect is zero.

    Examples
    --------
    >>> h = Hypothesis("Head 3 moves names.", "logit difference", "matched random heads").register()
    >>> h.test(2.0, [0.1] * 99).verdict
    'supported'
    >>> replace(h, alpha=0.5).test(2.0, [0.1] * 99)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    microtome.errors.IntegrityError: The hypothesis was edited after it was registered ...
    """

    claim: str
    statistic: str
    null: str
    alternative: str = "greater"
    alpha: float = 0.05
    refuted_by: str = ""
    seal: str = ""

    def __post_init__(self) -> None:
        for name in ("claim", "statistic", "null"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise UsageError(f"A hypothesis needs {name} as text, got {getattr(self, name)!r}.")
        for name in ("refuted_by", "seal"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"A hypothesis needs {name} as text, got {getattr(self, name)!r}.")
        check_alternative(self.alternative)
        object.__setattr__(self, "alpha", share(self.alpha, "alpha"))
        if not self.refuted_by:
            object.__setattr__(self, "refuted_by", f"p > {self.alpha:g}")

    @property
    def hash(self) -> str:
        """Hash over all fields but the seal."""
        fields = {name: value for name, value in asdict(self).items() if name != "seal"}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    @property
    def registered(self) -> bool:
        """Whether it is sealed and unchanged since."""
        return bool(self.seal) and self.seal == self.hash

    def register(self) -> "Hypothesis":
        """The same hypothesis, sealed. A sealed and edited one is refused."""
        if self.seal:
            self._intact()
        return replace(self, seal=self.hash)

    def test(
        self, observed: float, null: Any, *, estimate: Estimate | None = None, provenance: Provenance | None = None
    ) -> Finding:
        """Test the claim against draws of its null.

        Parameters
        ----------
        observed : float
            The registered statistic, measured.
        null : array_like [M] or Null
            Draws of the statistic under the registered null.
        estimate : Estimate or None, default None
            The statistic with its interval.
        provenance : Provenance or None, default None
            Where the data come from.

        Returns
        -------
        Finding
            Its verdict is "supported" or "refuted".

        Raises
        ------
        IntegrityError
            When the hypothesis was edited after registration.
        UsageError
            When it was never registered, or a given Null differs from what was registered.
        """
        self._intact()
        if isinstance(null, Null):
            if null.alternative != self.alternative or null.observed != float(observed):
                raise UsageError(
                    f"The null was drawn for observed {null.observed} ({null.alternative}); registered is "
                    f"'{self.alternative}' and observed is {observed}. Pass its draws: null.statistics."
                )
        else:
            null = Null(self.null, null, observed, self.alternative)
        notes = (f"Registered, seal {self.seal}.", f"Refuted by: {self.refuted_by}.", f"Statistic: {self.statistic}.")
        return Finding(
            self.claim, estimate=estimate, nulls=(null,), provenance=provenance or Provenance(), alpha=self.alpha,
            notes=notes, hypothesis=self.seal,
        )

    def test_data(self, x: Any, y: Any, *, draws: int = 1999, seed: int = 0) -> Finding:
        """Test the claim from two columns of data, when the registered null is one of `TESTS`.

        Parameters
        ----------
        x, y : array_like [n], [m]
            Two samples ("permutation") or paired columns ("correlation", "circular_shift").
        draws : int, default 1999
            Random arrangements.
        seed : int, default 0
            Seed of the arrangements.

        Returns
        -------
        Finding
            Its verdict is "supported" or "refuted".

        Raises
        ------
        IntegrityError, UsageError
            When it was edited, not registered, or its null cannot be run from data.
        """
        self._intact()
        if self.null not in TESTS:
            raise UsageError(
                f"Null '{self.null}' cannot be run from data; these can: {list(TESTS)}.{nearest(self.null, TESTS)} "
                "Otherwise draw it yourself and call test(observed, draws)."
            )
        null = TESTS[self.null](x, y, alternative=self.alternative, draws=draws, seed=seed)
        return self.test(null.observed, null, provenance=Provenance(seed=seed))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Hypothesis":
        """The hypothesis that `to_dict` described. IntegrityError when it is sealed and was edited."""
        hypothesis = cls(**known_fields(data, FIELDS, "Hypothesis"))
        if hypothesis.seal:
            hypothesis._intact()
        return hypothesis

    def _intact(self) -> None:
        if not self.seal:
            raise UsageError("The hypothesis is not registered. Call register() before looking at the data, then test that.")
        if self.seal != self.hash:
            raise IntegrityError(
                f"The hypothesis was edited after it was registered (seal {self.seal}, its fields hash to {self.hash}). "
                "Register a new one, and test it on new data."
            )
