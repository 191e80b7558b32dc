"""Inputs: what a subject is run on, as a small mapping of tensors with a batch axis."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError
from microtome.subject.frame import Frame
from microtome.subject.site import Site


@dataclass(frozen=True, eq=False)
class Inputs(Mapping[str, Tensor]):
    """Tensors with a common batch axis, e.g. input_ids and attention_mask; or one tensor under "" for plain modules.

    Examples
    --------
    >>> import torch
    >>> ids, mask = torch.tensor([[1, 5, 6], [1, 7, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    >>> batch = Inputs({"input_ids": ids, "attention_mask": mask})
    >>> len(batch), batch.lengths.tolist(), batch[:1]["input_ids"].tolist()
    (2, [3, 2], [[1, 5, 6]])
    """

    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        sizes = {name: tensor.shape[0] for name, tensor in self.tensors.items()}
        if len(set(sizes.values())) != 1:
            raise ShapeError(f"inputs must share their first axis, got {sizes}.")

    @property
    def ids(self) -> Tensor | None:
        """Token ids [n, length], or None."""
        return self.tensors.get("input_ids")

    @cached_property
    def mask(self) -> Tensor | None:
        """Attention mask [n, length], or None when nothing is padded."""
        mask = self.tensors.get("attention_mask")
        return None if mask is None or mask.ndim != 2 or bool(mask.all()) else mask

    @property
    def main(self) -> Tensor:
        """The tensor that defines rows and positions."""
        return next(iter(self.tensors.values())) if self.ids is None else self.ids

    @property
    def lengths(self) -> Tensor:
        """Real tokens of each example [n]; the second axis where there is no mask."""
        mask = self.tensors.get("attention_mask")
        if mask is not None and mask.ndim == 2:
            return mask.sum(dim=1)
        width = self.main.shape[1] if self.main.ndim > 1 else 1
        return torch.full((len(self),), width)

    @cached_property
    def frame(self) -> Frame:
        """Where the real tokens are."""
        if self.mask is not None:
            return Frame.of_mask(self.mask)
        return Frame.full(len(self), self.main.shape[1] if self.main.ndim > 1 else 1)

    def stack_frame(self, stack: str) -> Frame:
        """Where the real tokens of a stack are: a decoder beside an encoder has its own."""
        ids, mask = self.tensors.get("decoder_input_ids"), self.tensors.get("decoder_attention_mask")
        if stack != "decoder" or ids is None:
            return self.frame
        return Frame.full(*ids.shape) if mask is None or bool(mask.all()) else Frame.of_mask(mask)

    def frame_of(self, site: Site) -> Frame:
        """Where the real tokens are at a site."""
        return self.stack_frame(site.stack)

    def repeat(self, times: int) -> "Inputs":
        """The batch stacked `times` times."""
        return Inputs({k: v.repeat(times, *[1] * (v.ndim - 1)) for k, v in self.tensors.items()})

    def to(self, device: torch.device | str) -> "Inputs":
        """The same inputs on a device."""
        return Inputs({k: v.to(device) for k, v in self.tensors.items()})

    def __getitem__(self, key):  # str -> Tensor, slice or tensor -> Inputs
        if isinstance(key, str):
            return self.tensors[key]
        if isinstance(key, int):
            key = slice(key, key + 1 or None)
        return Inputs({k: v[key] for k, v in self.tensors.items()})

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return next(iter(self.tensors.values())).shape[0]

    def items(self):
        """Name and tensor pairs."""
        return self.tensors.items()

    def keys(self):
        """Names of the tensors."""
        return self.tensors.keys()

    def values(self):
        """The tensors."""
        return self.tensors.values()

    def __repr__(self) -> str:
        shapes = ", ".join(f"{k or 'input'} {list(v.shape)}" for k, v in self.tensors.items())
        return f"Inputs({shapes})"


def as_inputs(data: "Inputs | Tensor | Mapping[str, Tensor]") -> Inputs:
    """Inputs from a tensor or a mapping of tensors."""
    if isinstance(data, Inputs):
        return data
    if isinstance(data, Tensor):
        return Inputs({"input_ids" if data.dtype == torch.long and data.ndim == 2 else "": data})
    if isinstance(data, Mapping):
        return Inputs({k: v for k, v in data.items() if isinstance(v, Tensor)})
    raise UsageError(f"expected Inputs, a tensor or a mapping of tensors, got {type(data).__name__}. "
                     "Turn texts into inputs with subject.tokens(texts), and lists of numbers or ids with torch.tensor(...).")


def misfit(inputs: Inputs, unknown: Iterable[str], error: Exception) -> str:
    """Why a module could not take its inputs, and the way out; empty when the error has another cause.

    `unknown` are names of inputs that its forward does not have.
    """
    names = sorted(unknown)
    if isinstance(error, TypeError) and names:
        padded = " Give sequences of equal length: then there is no mask." if "attention_mask" in names else ""
        return f"its forward has no argument {', '.join(names)}.{padded}"
    if inputs.main.is_floating_point() and "embedding" in str(error):
        return f"it looks up ids, and they came as {inputs.main.dtype}; give them as torch.long: ids.long()."
    return ""
