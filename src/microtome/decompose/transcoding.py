"""The transcoder: a sparse dictionary that reads one site and writes another."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.dictionary import SparseDictionary
from microtome.errors import ShapeError, UsageError


class Transcoder(SparseDictionary):
    """An encoder at one site (or several, side by side) and a dictionary of directions at another.

    ``pre = x W_enc + b_enc``, ``z`` as in `SparseDictionary`, ``y' = z W_dec + b_dec (+ x W_skip)``. Coordinates belong to
    `site`, which is read; an edit through it is made at the site it `writes` and keeps there what the transcoder does not
    explain: ``y' = y + decode(z') - decode(z)``.

    Parameters
    ----------
    site : str
        What is read; "a+b" when `reads` holds several sites.
    writes : str
        The site that is written.
    W_enc, b_enc : Tensor[d, latents], Tensor[latents]
        Encoder; d is the sum of `widths`.
    W_dec, b_dec : Tensor[latents, d_out], Tensor[d_out]
        Directions at the written site (rows) and its bias.
    W_skip : Tensor[d, d_out], optional
        Linear bypass, not part of the code.
    activation, k, threshold : optional
        As in `SparseDictionary`.
    reads, widths : sequences, optional
        The sites side by side in x, and their widths. Default: `site` alone.

    Examples
    --------
    >>> parts = {"W_enc": torch.eye(2), "b_enc": torch.zeros(2), "W_dec": torch.ones(2, 3), "b_dec": torch.zeros(3)}
    >>> t = Transcoder("mlp.norm", writes="mlp.out", **parts)
    >>> t(torch.tensor([[1.0, 2.0]])).tolist()
    [[3.0, 3.0, 3.0]]
    """

    kind = "transcoder"
    square = False

    def __init__(
        self, site: str, *, writes: str, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, b_dec: Tensor,
        W_skip: Tensor | None = None, activation: str = "relu", k: int | None = None, threshold: Tensor | None = None,
        reads: Sequence[str] | None = None, widths: Sequence[int] | None = None,
        name: str = "transcoder", names: list[str] | None = None, subject: str = "",
    ) -> None:  # fmt: skip
        self.writes = writes
        self.reads = (site,) if reads is None else tuple(reads)
        self.widths = tuple(W_enc.shape[:1]) if widths is None else tuple(int(w) for w in widths)
        if len(self.reads) != len(self.widths) or sum(self.widths) != W_enc.shape[0]:
            raise ShapeError(f"sites {list(self.reads)} of widths {list(self.widths)} do not make {W_enc.shape[0]} inputs.")
        self.W_skip = None if W_skip is None else W_skip.detach().contiguous()
        super().__init__(
            site, W_enc=W_enc, b_enc=b_enc, W_dec=W_dec, b_dec=b_dec, activation=activation, k=k, threshold=threshold,
            centred=False, name=name, names=names, subject=subject,
        )  # fmt: skip
        if W_skip is not None and tuple(W_skip.shape) != (self.width, self.written_width):
            raise ShapeError(f"W_skip must be [{self.width}, {self.written_width}], got {list(W_skip.shape)}.")

    @property
    def written_width(self) -> int:
        """Width of the written site."""
        return self.W_dec.shape[1]

    def bypass(self, x: Tensor) -> Tensor | float:
        """What the skip connection writes; 0 without one."""
        return 0.0 if self.W_skip is None else x @ self.W_skip.to(x)

    def __call__(self, x: Tensor) -> Tensor:
        """The written site as predicted from x, skip connection included."""
        return super().__call__(x) + self.bypass(x)

    def tensors(self) -> dict[str, Tensor]:
        return super().tensors() | ({} if self.W_skip is None else {"W_skip": self.W_skip})

    def config(self) -> dict[str, Any]:
        about = {"writes": self.writes, "reads": list(self.reads), "widths": list(self.widths)}
        return {"activation": self.activation, "k": self.k} | about


class Crosscoder(SparseDictionary):
    """One code for several sites: all are read, all are written.

    Its vectors are those of the sites side by side, in the order of `sites`, as `joined` gives them.

    Parameters
    ----------
    site : str
        "a+b+...".
    sites, widths : sequences
        The sites and their widths.
    W_enc, b_enc, W_dec, b_dec, activation, k, threshold : as in `SparseDictionary`
        With d the sum of the widths. The input is not centred.

    Examples
    --------
    >>> both = torch.eye(2)
    >>> c = Crosscoder("a+b", sites=["a", "b"], widths=[1, 1], W_enc=both, b_enc=torch.zeros(2), W_dec=both,
    ...                b_dec=torch.zeros(2))
    >>> c.norms().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    kind = "crosscoder"

    def __init__(
        self, site: str, *, sites: Sequence[str], widths: Sequence[int], W_enc: Tensor, b_enc: Tensor, W_dec: Tensor,
        b_dec: Tensor, activation: str = "relu", k: int | None = None, threshold: Tensor | None = None,
        name: str = "crosscoder", names: list[str] | None = None, subject: str = "",
    ) -> None:  # fmt: skip
        self.sites, self.widths = tuple(sites), tuple(int(w) for w in widths)
        if len(self.sites) != len(self.widths) or sum(self.widths) != W_enc.shape[0]:
            raise ShapeError(f"sites {list(self.sites)} of widths {list(self.widths)} do not make {W_enc.shape[0]} inputs.")
        super().__init__(
            site, W_enc=W_enc, b_enc=b_enc, W_dec=W_dec, b_dec=b_dec, activation=activation, k=k, threshold=threshold,
            centred=False, name=name, names=names, subject=subject,
        )  # fmt: skip

    @property
    def writes(self) -> tuple[str, ...]:
        """All its sites; `at` gives a basis for one."""
        return self.sites

    def split(self, x: Tensor) -> dict[str, Tensor]:
        """Joined vectors [..., sum of widths] by site."""
        return dict(zip(self.sites, x.split(self.widths, -1)))

    def norms(self) -> Tensor:
        """Norm of each latent's direction at each site: Tensor[latents, sites]."""
        return torch.stack([part.norm(dim=1) for part in self.W_dec.split(self.widths, 1)], 1)

    def at(self, site: str) -> Transcoder:
        """The basis that reads all the sites and writes `site`, for edits there."""
        if site not in self.sites:
            raise UsageError(f"the crosscoder has the sites {list(self.sites)}, not '{site}'.")
        i = self.sites.index(site)
        W_dec, b_dec = self.W_dec.split(self.widths, 1)[i], self.b_dec.split(self.widths)[i]
        return Transcoder(
            self.site, writes=site, reads=self.sites, widths=self.widths, W_enc=self.W_enc, b_enc=self.b_enc, W_dec=W_dec,
            b_dec=b_dec, activation=self.activation, k=self.k, threshold=self.threshold, name=self.name, names=self.names,
            subject=self.subject,
        )  # fmt: skip

    def config(self) -> dict[str, Any]:
        return {"activation": self.activation, "k": self.k, "sites": list(self.sites), "widths": list(self.widths)}
