"""Matching pursuit: codes found one atom at a time, each in what the earlier ones left."""

from typing import Any

import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError
from microtome.subject.basis_stored import StoredBasis, check_width


class PursuitDictionary(StoredBasis):
    """Unit atoms D and a serial encoder: ``r_0 = x - b``; at each step the atom with the largest ``s = D r`` is taken.

    ``z_j += s_j``, ``r <- r - s_j D_j``, so ``||r||^2`` falls by ``s_j^2`` and r is orthogonal to the atom just used.
    ``decode(z) = z D + b``. A row stops when no atom correlates positively with what is left.

    Parameters
    ----------
    site : str
    W_dec, b_dec : Tensor[latents, d], Tensor[d]
        Atoms (rows of norm 1) and the bias.
    steps : int
        Atoms per row; one may be taken twice.

    Examples
    --------
    >>> mp = PursuitDictionary("s", W_dec=torch.eye(3), b_dec=torch.zeros(3), steps=2)
    >>> mp.encode(torch.tensor([[3.0, 1.0, 2.0]])).tolist()
    [[3.0, 0.0, 2.0]]
    """

    kind = "pursuit"

    def __init__(
        self, site: str, *, W_dec: Tensor, b_dec: Tensor, steps: int, name: str = "mp_sae",
        names: list[str] | None = None, subject: str = "",
    ) -> None:  # fmt: skip
        if W_dec.ndim != 2 or b_dec.shape != W_dec.shape[1:]:
            raise ShapeError(f"atoms [latents, d] need a bias [d], got {list(W_dec.shape)} and {list(b_dec.shape)}.")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise UsageError(f"steps must be a whole number >= 1, got {steps!r}.")
        self.W_dec, self.b_dec, self.steps = W_dec.detach().contiguous(), b_dec.detach().contiguous(), steps
        if not torch.allclose(self.W_dec.norm(dim=1), self.W_dec.new_ones(()), atol=1e-3):
            raise ShapeError("atoms must have norm 1: matching pursuit compares their correlations with the residual.")
        self.width = W_dec.shape[1]
        super().__init__(site, name=name, names=names, subject=subject)

    @property
    def dim(self) -> int:
        return len(self.W_dec)

    @property
    def directions(self) -> Tensor:
        return self.W_dec

    def encode(self, x: Tensor) -> Tensor:
        """Codes, dense; an atom taken twice has the sum."""
        check_width(x, self.width, f"dictionary '{self.name}' at '{self.site}'")
        rows = (x - self.b_dec.to(x)).reshape(-1, self.width)
        chosen, values, _ = pursue(rows, self.W_dec.to(x), self.steps)
        z = rows.new_zeros(len(rows), self.dim).scatter_add(1, chosen, values)
        return z.reshape(*x.shape[:-1], self.dim)

    def decode(self, z: Tensor) -> Tensor:
        check_width(z, self.dim, f"decode of dictionary '{self.name}'")
        return z @ self.W_dec.to(z) + self.b_dec.to(z)

    def __call__(self, x: Tensor) -> Tensor:
        """What is rebuilt from x."""
        return self.decode(self.encode(x))

    def with_steps(self, steps: int) -> "PursuitDictionary":
        """The same atoms with another number of steps; fewer give the beginning of the same code."""
        out = type(self)(self.site, **self.tensors(), steps=steps, name=self.name, names=self.names, subject=self.subject)
        out.history = dict(self.history)
        return out

    def tensors(self) -> dict[str, Tensor]:
        return {"W_dec": self.W_dec, "b_dec": self.b_dec}

    def config(self) -> dict[str, Any]:
        return {"steps": self.steps}

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], config: dict[str, Any], **about: Any) -> "PursuitDictionary":
        return cls(about.pop("site"), **tensors, **config, **about)


def pursue(x: Tensor, atoms: Tensor, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Matching pursuit of rows x[rows, d].

    Returns
    -------
    chosen : LongTensor[rows, steps]
    values : Tensor[rows, steps]
        >= 0; differentiable, as is the residual, through the inner products (the choice is not).
    residual : Tensor[rows, d]

    Notes
    -----
    Correlations are carried along by the Gram matrix, ``s <- s - s_j D D_j^T``, where that is cheaper than ``r D^T``.
    """
    gram = None
    with torch.no_grad():
        scores = x @ atoms.T
        if len(atoms) <= len(x) * max(steps - 1, 0):
            gram = atoms @ atoms.T
    residual, chosen, values = x, [], []
    for t in range(steps):
        with torch.no_grad():
            index = scores.argmax(1)
        atom = atoms[index]
        value = (residual * atom).sum(1).relu()
        residual = residual - value[:, None] * atom
        chosen.append(index)
        values.append(value)
        if t + 1 < steps:
            with torch.no_grad():
                scores = residual @ atoms.T if gram is None else scores.addcmul(gram[index], value[:, None], value=-1)
    return torch.stack(chosen, 1), torch.stack(values, 1), residual
