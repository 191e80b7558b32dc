"""How likely each answer is right: scores of inputs, and how well they tell right from wrong."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.errors import Degenerate, ShapeError
from microtome.evidence import Estimate, Finding, Provenance, bootstrap

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Correctness:
    """A score for each input: how likely the subject answers it rightly.

    Attributes
    ----------
    scores : ndarray [n]
    name : str
    """

    scores: np.ndarray
    name: str
    subject: str = ""
    data: str = ""

    @property
    def table(self) -> "pd.DataFrame":
        """One row per input."""
        import pandas as pd

        return pd.DataFrame({"input": np.arange(len(self.scores)), "score": self.scores})

    def auroc(self, correct: Any, *, seed: int = 0) -> Estimate:
        """Probability that a rightly answered input scores above a wrongly answered one; bootstrap over inputs.

        Raises
        ------
        ShapeError, Degenerate
            Another number of inputs; all right or all wrong.
        """
        right = np.asarray(correct).astype(bool)
        if right.shape != self.scores.shape:
            raise ShapeError(f"correct must be [{len(self.scores)}], got {list(right.shape)}.")
        if right.all() or not right.any():
            raise Degenerate("all answers are right, or all wrong: nothing can be told apart.")
        rows = np.stack([self.scores, right], 1)
        return bootstrap(rows, statistic=lambda r: auroc_of(r[:, 0], r[:, 1] > 0.5), draws=500, seed=seed)

    def finding(self) -> Finding:
        """The mean score; without the answers nothing is claimed."""
        about = Provenance(subject=self.subject, data=self.data)
        whole = bootstrap(self.scores) if len(self.scores) > 1 else Estimate(float(self.scores[0]), n=1)
        return Finding(f"{self.name} scores of {len(self.scores)} inputs", estimate=whole, table=self.table, provenance=about)

    def __repr__(self) -> str:
        return f"Correctness({self.name}: {len(self.scores)} inputs, mean {self.scores.mean():.3f})"


def auroc_of(scores: np.ndarray, right: np.ndarray) -> float:
    """Area under the curve by ranks; one half where one side is empty."""
    from scipy.stats import rankdata

    m, n = int(right.sum()), int((~right).sum())
    if not m or not n:
        return 0.5
    return float((rankdata(scores)[right].sum() - m * (m + 1) / 2) / (m * n))
