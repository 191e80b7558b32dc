"""From a fitted direction to a basis of one coordinate, judged on held-out documents."""

import numpy as np
import torch

from microtome.evidence import auroc
from microtome.read.labelled import Labelled
from microtome.subject.basis import Linear


def direction_basis(data: Labelled, weights: np.ndarray, offset: np.ndarray, *, name: str, label: str) -> Linear:
    """z = (x - offset) . w / |w|, with the row w / |w| as the direction written; metrics are held-out.

    Parameters
    ----------
    data : Labelled
    weights : ndarray[d]
    offset : ndarray[d]
        Where z is 0, e.g. the midpoint of the class means.
    name, label : str
        Of the basis and of its coordinate.
    """
    unit = weights / max(float(np.linalg.norm(weights)), 1e-12)
    column = torch.tensor(unit[:, None], dtype=torch.float32)
    basis = Linear(data.site, column, column.T.contiguous(), torch.tensor(offset, dtype=torch.float32), name=name,
                   names=[label], subject=data.subject)  # fmt: skip
    score = (data.x[~data.fit] - offset) @ unit
    truth = data.y[~data.fit]
    said = score > 0
    hits = float((said & truth).sum())
    basis.metrics = {
        "auroc": float(auroc(score, truth)),
        "accuracy": float((said == truth).mean()),
        "balanced_accuracy": float((said[truth].mean() + (~said)[~truth].mean()) / 2),
        "precision": hits / max(float(said.sum()), 1.0),
        "recall": hits / float(truth.sum()),
        "f1": 2 * hits / float(said.sum() + truth.sum()),
        "held_out_rows": float(len(truth)),
    }
    return basis
