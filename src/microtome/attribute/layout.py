"""Which axis of a recorded tensor holds channels and which hold places: images, tokens on a grid, sound, without asking."""

from dataclasses import dataclass
from math import isqrt
from typing import Any

from torch import Tensor, nn

from microtome.attribute.place import in_use
from microtome.errors import SiteError

#: Layers whose outputs have their channels behind the batch, and those that work on the last axis.
_CONV = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm)


@dataclass(frozen=True)
class Layout:
    """How to read a site as channels over places.

    Attributes
    ----------
    channel : int
        Axis of the channels.
    special : int
        Leading tokens that stand for no place (class and register tokens).
    grid : tuple of int
        Sizes of the places: (y, x), (positions,) or (time,).
    names : tuple of str
        Their names.
    """

    channel: int
    special: int
    grid: tuple[int, ...]
    names: tuple[str, ...]

    def split(self, x: Tensor) -> Tensor:
        """[n, channels, *grid]."""
        x = x.movedim(self.channel, 1)
        return x[:, :, self.special :].reshape(*x.shape[:2], *self.grid)

    def join(self, parts: Tensor, like: Tensor) -> Tensor:
        """The inverse of `split`; special tokens are those of `like`."""
        moved = like.movedim(self.channel, 1).clone()
        moved[:, :, self.special :] = parts.reshape(*moved.shape[:2], *moved[:, :, self.special :].shape[2:])
        return moved.movedim(1, self.channel)


def layout_of(subject: Any, site: str, x: Tensor) -> Layout:
    """The layout of a tensor read at a site.

    Named axes decide where a table gives them; otherwise the sizes of the layers around: channels are behind the batch where a
    convolution has as many outputs, last where a linear layer or a norm does. Tokens of image models are put on their grid.

    Raises
    ------
    SiteError
        Where there are no places.
    """
    in_use(subject)
    names = subject.site(site).axes
    if x.ndim < 3:
        raise SiteError(f"{site} is {list(x.shape)}: it has no places. Choose a site before the pooling.")
    if len(names) == x.ndim and "channel" in names:
        channel = names.index("channel")
    elif len(names) == x.ndim and "unit" in names:
        channel = names.index("unit")
    else:
        channel = _channel(subject, x)
    places = [size for i, size in enumerate(x.shape) if i not in (0, channel)]
    if len(places) > 1:
        return Layout(channel, 0, tuple(places), ("z", "y", "x")[-len(places) :])
    special, grid = _grid(subject, places[0]) if channel == x.ndim - 1 else (0, None)
    if grid is not None:
        return Layout(channel, special, grid, ("y", "x"))
    return Layout(channel, 0, (places[0],), ("position",))


def _channel(subject: Any, x: Tensor) -> int:
    rank = {nn.Conv1d: 3, nn.Conv2d: 4, nn.Conv3d: 5}
    parts = list(subject.module.modules())
    outputs = {m.out_channels for m in parts if isinstance(m, _CONV) and rank.get(type(m)) == x.ndim}
    last = {m.out_features if isinstance(m, nn.Linear) else m.normalized_shape[-1] for m in parts if isinstance(m, _LAST)}
    if x.shape[1] in outputs and not (x.ndim == 3 and x.shape[2] in last and x.shape[1] not in outputs):
        return 1
    if x.shape[-1] in last or x.ndim == 3:
        return x.ndim - 1
    return 1


def _grid(subject: Any, tokens: int) -> tuple[int, tuple[int, int] | None]:
    """Leading special tokens and the grid of an image model's tokens; None for text."""
    config = getattr(subject.module, "config", None)
    config = getattr(config, "vision_config", config)
    size, patch = getattr(config, "image_size", None), getattr(config, "patch_size", None)
    if isinstance(size, int) and isinstance(patch, int) and tokens >= (size // patch) ** 2:
        side = size // patch
        return tokens - side * side, (side, side)
    if any(isinstance(m, nn.Conv2d) for m in subject.module.modules()):  # patches were cut by a convolution
        for special in (0, 1, 2, 5):
            side = isqrt(max(0, tokens - special))
            if side > 1 and side * side + special == tokens:
                return special, (side, side)
    return 0, None
