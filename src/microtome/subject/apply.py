"""Carry out one edit on one tensor: pure functions, the given tensor is never changed."""

from dataclasses import dataclass

import torch
from torch import Tensor

from microtome.errors import ShapeError, SiteError, UsageError
from microtome.subject.edit import Edit
from microtome.subject.frame import Frame
from microtome.subject.site import Site

#: Order in which axes are brought before indexing: examples, positions, heads, units.
ORDER = (("batch",), ("position", "time", "query"), ("head",), ("unit", "channel", "key"))


@dataclass
class Count:
    """Cells addressed by one edit, and cells whose value it changed, in one call of a run."""

    touched: int = 0
    changed: int = 0


def apply(edit: Edit, tensor: Tensor, site: Site, frame: Frame, count: Count | None = None) -> Tensor:
    """The site's tensor [n, ...] after the edit.

    Parameters
    ----------
    edit : Edit
    tensor : Tensor
        The site's tensor in the window of `frame`.
    site : Site
    frame : Frame
    count : Count, optional
        Told how many cells were addressed and changed.

    Raises
    ------
    SiteError
        When the site lacks an axis that the edit indexes.
    ShapeError
        When the value fits neither the features, nor one row per example, nor the whole site.
    """
    axes = site.axes_of(tensor)
    moved, present = ordered(tensor, axes)
    if len(present) > 1 and present[1] in ORDER[1]:
        frame = frame.fitted(*moved.shape[:2])
    index = _index_of(edit, moved, present, frame, site)
    if index is None:
        return tensor
    old = moved[index]
    new = _changed(edit, old, moved, index, axes, present, frame, site)
    if count is not None:
        count.touched += old.numel()
        count.changed += int((new != old).sum())
    result = tensor.clone()
    ordered(result, axes)[0][index] = new.to(result.dtype)
    return result


def ordered(tensor: Tensor, axes: tuple[str, ...]) -> tuple[Tensor, tuple[str, ...]]:
    """A view with axes in the order examples, positions, heads, units, rest; and the names of the leading ones."""
    first = [a for names in ORDER for a in axes if a in names]
    rest = [a for a in axes if a not in first]
    order = [axes.index(a) for a in first + rest]
    return tensor.permute(order), tuple(first)


def _as_list(value: int | list[int], size: int, what: str, site: Site) -> Tensor:
    index = torch.as_tensor([value] if isinstance(value, int) else list(value))
    wrong = (index >= size) | (index < -size)
    if wrong.any():
        raise SiteError(f"{what} {int(index[wrong][0])} does not exist at {site.name}: it has {size} (0..{size - 1}).")
    return index % size


def _index_of(edit: Edit, moved: Tensor, present: tuple[str, ...], frame: Frame, site: Site) -> tuple | None:
    """Index into the canonical view; None when no addressed position lies in the window."""
    slots: list[Tensor] = []
    rows = torch.arange(moved.shape[0])
    kinds = [next(i for i, names in enumerate(ORDER) if a in names) for a in present]
    has = {kind: axis for axis, kind in enumerate(kinds)}
    for kind, what, value in ((1, "position", edit.position), (2, "head", edit.head)):
        if value is not None and kind not in has:
            raise SiteError(f"{site.name} has axes {present}: there is no {what} axis to index. Leave {what}= out.")
    if edit.unit is not None and edit.basis is None and 3 not in has:
        raise SiteError(f"{site.name} has axes {present}: there is no unit axis to index.")
    last = max((k for k, v in ((1, edit.position), (2, edit.head),
                               (3, edit.unit if edit.basis is None else None)) if v is not None), default=0)
    if last == 0:
        return (slice(None),)
    columns = None
    if 1 in has:
        columns = frame.resolve(edit.position)
        width = moved.shape[has[1]]
        if columns is None:
            columns = torch.arange(width).expand(len(rows), -1)
        else:
            columns = columns.to("cpu") - frame.offset
            if columns.shape[0] != len(rows):
                raise ShapeError(f"the edit has positions for {columns.shape[0]} examples, the batch has {len(rows)}.")
            keep = (columns >= 0) & (columns < width)
            if not keep.all():
                if not keep.any():
                    return None
                if not (keep == keep[0]).all():
                    raise UsageError(f"{edit}: its positions lie in the window for some examples only.")
                columns = columns[:, keep[0]]
        slots.append(columns)
    tail = []
    if 2 in has and last >= 2:
        size = moved.shape[has[2]]
        tail.append(torch.arange(size) if edit.head is None else _as_list(edit.head, size, "head", site))
    if 3 in has and last >= 3:
        tail.append(_as_list(edit.unit, moved.shape[has[3]], "unit", site))  # type: ignore[arg-type]
    lead = 2 if columns is not None else 1
    ranks = lead + len(tail)
    shaped = [rows.reshape([-1] + [1] * (ranks - 1))]
    if columns is not None:
        shaped.append(columns.reshape([*columns.shape] + [1] * len(tail)))
    for i, t in enumerate(tail):
        shaped.append(t.reshape([1] * (lead + i) + [-1] + [1] * (len(tail) - i - 1)))
    return tuple(shaped)


def _changed(edit, old, moved, index, axes, present, frame, site) -> Tensor:
    """The new values of the addressed cells."""
    if edit.op == "call":
        return _called(edit, old, site)
    if edit.basis is None:
        return _operate(edit, old, _value_at(edit, moved, index, axes, frame, site))
    from microtome.subject.through import change_through

    return change_through(edit, old, present, lambda: _value_at(edit, moved, index, axes, frame, site), _operate, site)


def _called(edit: Edit, old: Tensor, site: Site) -> Tensor:
    """What the edit's function gives; it gets a copy, so that it may work in place."""
    new = edit.value(old.clone())
    if not isinstance(new, Tensor) or new.shape != old.shape:
        got = list(new.shape) if isinstance(new, Tensor) else type(new).__name__
        raise ShapeError(f"{edit}: the function must return a tensor {list(old.shape)} for {site.name}, it returned {got}.")
    return new


def _operate(edit: Edit, old: Tensor, value) -> Tensor:
    if edit.op in ("set", "coordinates"):
        return torch.as_tensor(value, dtype=old.dtype, device=old.device).expand_as(old)
    if edit.op == "add":
        return old + torch.as_tensor(value, dtype=old.dtype, device=old.device)
    if edit.op == "scale":
        return old * value
    if edit.op == "clamp":
        return old.clamp(*value)
    raise UsageError(
        f"{edit}: op '{edit.op}' needs values measured on the unedited run; use subject.run or subject.sweep, "
        "or give value=."
    )


def _value_at(edit: Edit, moved: Tensor, index: tuple, axes: tuple[str, ...], frame: Frame, site: Site):
    """The edit's value at the addressed cells, broadcastable to them."""
    value = edit.value
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    value = value.to(moved.device)
    rows, lead = moved.shape[0], sum(1 for a in axes if a in ("batch", "position", "time", "query"))
    features = moved.shape[lead:]
    if "channel" in axes and value.shape == moved.shape[1:2]:  # one number per channel, the same at every place
        value = value.reshape(-1, *[1] * (len(features) - 1)).expand(features)
    cells = moved[index].shape
    tail = index[2:] if lead == 2 else index[1:]
    pick = tuple(t.flatten() for t in tail)
    if tuple(value.shape) == tuple(features):  # one feature vector for all
        return _pick(value, pick, 0)
    if value.ndim == len(features) + 1 and value.shape[0] == rows and tuple(value.shape[1:]) == tuple(features):
        picked = _pick(value, pick, 1)
        return picked[:, None] if lead == 2 else picked
    if value.ndim == moved.ndim and value.shape[0] in (1, rows):  # like the site itself
        source = ordered(value, axes)[0]
        if tuple(source.shape[lead:]) == tuple(features):
            if lead == 1:
                return source[index] if source.shape[0] == rows else _pick(source, pick, 1)
            _check_length(edit, source.shape[1], moved.shape[1], frame, site)
            if len(index) == 1:
                return source[:, frame.offset : frame.offset + moved.shape[1]]
            columns = index[1] + frame.offset
            row = index[0] if source.shape[0] == rows else torch.zeros_like(index[0])
            return source[(row, columns, *tail)]
    if value.ndim <= len(cells) and all(a in (b, 1) for a, b in zip(reversed(value.shape), reversed(cells))):
        return value
    raise ShapeError(
        f"{edit}: the value has shape {list(value.shape)}; {site.name} takes a scalar, its features {list(features)}, "
        f"one row per example [{rows}, ...features], or the whole site {list(moved.shape)} (axes {axes})."
    )


def _check_length(edit: Edit, given: int, window: int, frame: Frame, site: Site) -> None:
    """A value like the whole site has the positions of the batch; while a sequence grows, it has at least those so far."""
    needed = frame.offset + window
    if given != needed and not (frame.growing and given > needed):
        raise ShapeError(
            f"{edit}: the value has {given} positions, {site.name} has {needed} here. "
            "Give a value recorded on inputs of the same length, or features with position=."
        )


def _pick(value: Tensor, pick: tuple[Tensor, ...], start: int) -> Tensor:
    for axis, index in enumerate(pick):
        value = value.index_select(start + axis, index.to(value.device))
    return value
