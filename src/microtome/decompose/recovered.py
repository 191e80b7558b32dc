"""What a dictionary costs the network: its loss with a site replaced by what the dictionary rebuilds."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from microtome.decompose.transcoding import Crosscoder, Transcoder
from microtome.errors import Degenerate, UsageError
from microtome.subject.edit import Edit, replace_with


class Recovered:
    """Cross-entropy increase and share of the loss recovered, on inputs held out from training.

    Per dictionary: ``ce_increase = CE(rebuilt) - CE(clean)`` and
    ``loss_recovered = (CE(zero) - CE(rebuilt)) / (CE(zero) - CE(clean))``, CE over all next tokens of the inputs, "zero"
    with the site set to 0. All sums run over the whole set.

    Parameters
    ----------
    subject : Subject
        A causal language model.
    inputs : Inputs or texts
        Shown to it; e.g. a few hundred held-out texts.
    batch : int
        Samples per forward.
    """

    def __init__(self, subject: Any, inputs: Any, *, batch: int = 32) -> None:
        self.subject, self.inputs, self.batch = subject, subject.inputs(inputs), batch
        self._known: dict[str, float] = {}

    def __call__(self, bases: Mapping[str, Any]) -> dict[str, float]:
        """Figures "NAME/ce_increase" and "NAME/loss_recovered" of each basis."""
        out = {}
        for name, basis in bases.items():
            if isinstance(basis, Crosscoder) or (not hasattr(basis, "writes") and "+" in basis.site):
                continue  # several sites at once have no single replacement
            site = getattr(basis, "writes", basis.site)
            clean, zero = self._cached("", None), self._cached(site, Edit(site, "set", 0.0))
            now = self.cross_entropy(rebuilding(basis))
            if zero == clean:
                raise Degenerate(f"setting '{site}' to 0 does not change the loss: there is nothing to recover.")
            out[f"{name}/ce_increase"] = now - clean
            out[f"{name}/loss_recovered"] = (zero - now) / (zero - clean)
        return out

    def cross_entropy(self, edits: list[Edit]) -> float:
        """Mean over all next tokens, in nats."""
        total, count = 0.0, 0
        for lo in range(0, len(self.inputs), self.batch):
            part = self.inputs[lo : lo + self.batch]
            if part.ids is None:
                raise UsageError("loss recovered needs token inputs of a causal language model.")
            logits = self.subject.run(part, edits=edits).logits[:, :-1]
            real = (torch.ones_like(part.ids) if part.mask is None else part.mask).bool()
            asked = real[:, 1:] & real[:, :-1]
            losses = torch.nn.functional.cross_entropy(logits[asked].double(), part.ids[:, 1:][asked], reduction="sum")
            total, count = total + float(losses), count + int(asked.sum())
        return total / max(count, 1)

    def _cached(self, key: str, edit: Edit | None) -> float:
        if key not in self._known:
            self._known[key] = self.cross_entropy([] if edit is None else [edit])
        return self._known[key]


def rebuilding(basis: Any) -> list[Edit]:
    """Edits that put what a dictionary rebuilds in place of the site, its error included in what is lost."""
    if not isinstance(basis, Transcoder):
        return [replace_with(basis.site, lambda x: _rebuilt(basis, x))]
    if len(basis.reads) != 1:
        raise UsageError(f"'{basis.name}' reads {list(basis.reads)}; only a transcoder of one site can stand in for a module.")
    seen: dict[str, Tensor] = {}

    def look(x: Tensor) -> Tensor:
        seen["x"] = x
        return x

    return [replace_with(basis.site, look), replace_with(basis.writes, lambda y: basis(seen["x"]).to(y.dtype))]


def _rebuilt(basis: Any, x: Tensor) -> Tensor:
    """What the basis rebuilds of a site's tensor; heads are taken side by side."""
    rows = x.flatten(2) if x.ndim > 3 else x
    return basis.decode(basis.encode(rows)).to(x.dtype).reshape(x.shape)
