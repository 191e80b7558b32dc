"""One forward pass: record sites, apply edits, stop as early as possible."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from microtome.errors import EditTouchedNothing, SiteError, UsageError
from microtome.subject.apply import Count, ordered
from microtome.subject.basis import require_same
from microtome.subject.edit import Edit, derangement
from microtome.subject.fingerprint import current_fingerprint
from microtome.subject.hooks import Placed, Stop, Tap, attached
from microtome.subject.inputs import Inputs
from microtome.subject.reading import expanded, from_run, reads_elsewhere, written
from microtome.subject.site import Site

if TYPE_CHECKING:
    from microtome.subject.subject import Subject

Logits = Literal["all", "last", "none"] | Tensor


@dataclass
class Run:
    """What one forward gave.

    Attributes
    ----------
    inputs : Inputs
    values : dict
        Site name -> tensor; index the run with a site name (aliases work) to get it.
    output : Any
        The module's output; None when the forward stopped early.
    touched, changed : list of int
        Cells addressed and cells whose value changed, for each edit, in this call.
    """

    inputs: Inputs
    values: dict[str, Tensor]
    output: Any
    touched: list[int]
    changed: list[int]
    subject: "Subject"

    def __getitem__(self, site: str) -> Tensor:
        name = self.subject.site(site).name
        if name not in self.values:
            raise SiteError(f"{name} was not recorded in this run. Recorded: {sorted(self.values)}. Add it to record=[...].")
        return self.values[name]

    @property
    def logits(self) -> Tensor:
        """The logits, or the plain tensor output of a module [n, ..., vocab]."""
        if self.output is None:
            raise UsageError("this run stopped before the logits. Ask for them with logits='all' or logits='last'.")
        return logits_of(self.output)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{k} {list(v.shape)}" for k, v in self.values.items())
        return f"Run({len(self.inputs)} examples; {shapes or 'nothing recorded'})"


def logits_of(output: Any) -> Tensor:
    """The tensor a metric reads: `.logits` where there is one, else the (first) tensor of the output."""
    if isinstance(output, Tensor):
        return output
    for name in ("logits", "logits_per_image", "last_hidden_state"):
        value = getattr(output, name, None)
        if isinstance(value, Tensor):
            return value
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise UsageError(f"the module returned {type(output).__name__}, which has no logits.")


def one_row(logits: Tensor) -> Tensor:
    """Logits [n, vocab] of a run that gave one position alone [n, 1, vocab]; others as they are."""
    return logits[:, 0] if logits.ndim == 3 and logits.shape[1] == 1 else logits


def run(
    subject: "Subject",
    inputs: Inputs,
    record: Sequence[str] = (),
    edits: Sequence[Edit] = (),
    logits: Logits = "all",
) -> Run:
    """See `Subject.run`."""
    if not isinstance(logits, Tensor) and logits not in ("all", "last", "none"):
        raise UsageError(f"logits must be 'all', 'last', 'none' or a tensor of positions [n], got {logits!r}.")
    edits = bind_edits(subject, inputs, edits)
    values, output, counts = forward(subject, inputs, record, edits, logits, copy=False)
    if values is None:  # an in-place operation overwrote a recorded tensor: take copies this time
        values, output, counts = forward(subject, inputs, record, edits, logits, copy=True)
    refuse_idle(edits, counts)
    return Run(inputs, values or {}, output, [c.touched for c in counts], [c.changed for c in counts], subject)


def forward(subject, inputs, record, edits, logits, *, copy):
    """One hooked forward; values None when a recorded tensor was overwritten in place and copies are needed."""
    sites = [subject.site(s) for s in dict.fromkeys(record)]
    kept: dict[str, list[tuple[Tensor, int | None]]] = {s.name: [] for s in sites}
    counts = [Count() for _ in edits]
    waiting = {s.name for s in sites}
    may_stop = isinstance(logits, str) and logits == "none" and bool(sites)

    def keep(name: str):
        def store(value: Tensor) -> None:
            own = copy or value.is_inference()  # tensors of torch.inference_mode do not say when they are overwritten
            kept[name].append((value.clone(), None) if own else (value, value._version))
            waiting.discard(name)
            if may_stop and not waiting:
                raise Stop

        return store

    taps = taps_for(subject, edits, counts)
    for site in sites:
        taps.setdefault(site.name, Tap(site)).keep = keep(site.name)
    output = None
    with torch.no_grad(), attached(subject.module, list(taps.values()), inputs.frame_of), contextlib.suppress(Stop):
        output = subject.call(inputs, logits)
    silent = [name for name, found in kept.items() if not found]
    if silent:
        raise SiteError(f"{', '.join(silent)} never fired during the run: the module is not used by this forward.")
    if any(v is not None and t._version != v for found in kept.values() for t, v in found):
        return None, None, counts
    values = {name: found[0][0] if len(found) == 1 else torch.stack([t for t, _ in found], dim=1)
              for name, found in kept.items()}
    return values, output, counts


def taps_for(subject: "Subject", edits: Sequence[Edit], counts: Sequence[Count | None]) -> dict[str, Tap]:
    """One tap per site with its edits in the order given."""
    taps: dict[str, Tap] = {}
    looks: list[Edit] = []
    for edit, count in zip(edits, counts):
        site = subject.site(edit.site)
        more, edit = expanded(subject, edit)
        looks += more
        taps.setdefault(site.name, Tap(site)).edits.append(Placed(edit, None, count))
    for look in looks:  # last: they see their site after all edits there
        site = subject.site(look.site)
        taps.setdefault(site.name, Tap(site)).edits.append(Placed(look))
    return taps


def refuse_idle(edits: Sequence[Edit], counts: Sequence[Count]) -> None:
    """Every edit must have addressed at least one cell in this call."""
    for edit, count in zip(edits, counts):
        if count.touched == 0:
            raise EditTouchedNothing(
                f"{edit} addressed no cell in this run: its site did not fire, or its positions are outside what was computed. "
                "Check the site with subject.site(...) and the positions against inputs.lengths."
            )


def check_edits(subject: "Subject", edits: Sequence[Edit]) -> None:
    """Every edit is one, its site exists, and its basis belongs to that site and to this subject."""
    for edit in edits:
        if not isinstance(edit, Edit):
            raise UsageError(f"edits must be Edit values (mt.ablate, mt.patch, ...), got {type(edit).__name__}.")
        site = subject.site(edit.site)
        if edit.basis is not None:
            fitted = getattr(edit.basis, "subject", "")
            where = written(edit.basis)
            named = where if _is_name_of(subject, where, site) else site.name
            require_same(edit.basis, site=named, subject=current_fingerprint(subject) if fitted else "")


def _is_name_of(subject: "Subject", name: str, site: Site) -> bool:
    with contextlib.suppress(SiteError):
        return subject.site(name).name == site.name
    return False


def bind_edits(subject: "Subject", inputs: Inputs, edits: Sequence[Edit]) -> list[Edit]:
    """Edits whose values are measured on the unedited inputs become plain "set" edits."""
    check_edits(subject, edits)
    measured = [e for e in edits if e.op in ("mean", "resample", "clean")]
    if not measured:
        return list(edits)
    names = sorted({e.site for e in measured} | {s for e in measured for s in reads_elsewhere(e.basis)})
    values, _, _ = forward(subject, inputs, names, (), "none", copy=True)
    assert values is not None  # copies were asked for
    seen = {name: values[subject.site(name).name] for name in names}
    return [_bind(from_run(subject, e, seen), seen[e.site], subject.site(e.site), inputs)
            if e.op in ("mean", "resample", "clean") else e for e in edits]


def _bind(edit: Edit, clean: Tensor, site: Site, inputs: Inputs) -> Edit:
    if edit.op == "mean" and edit.basis is not None:
        from microtome.subject.through import mean_coordinates

        moved, present = ordered(clean, site.axes_of(clean))
        real = _real(moved, present, site, inputs)
        own = getattr(edit.basis, "inner", edit.basis)
        return replace(edit, op="coordinates", value=mean_coordinates(edit, moved, present, real), basis=own)
    if edit.op == "clean":
        value = clean
    elif edit.op == "resample":
        value = _resampled(clean, site, inputs, edit.seed)
    else:
        axes = site.axes_of(clean)
        if "position" in axes and axes[:2] == ("batch", "position"):
            value = clean[_real(clean, axes, site, inputs)].mean(dim=0)
        elif "channel" in axes:
            value = clean.mean(dim=[i for i, a in enumerate(axes) if a != "channel"])
            value = value.reshape([-1 if a == "channel" else 1 for a in axes]).expand_as(clean)
        else:
            value = clean.mean(dim=0, keepdim=True).expand_as(clean)
    return replace(edit, op="set", value=value)


def _resampled(clean: Tensor, site: Site, inputs: Inputs, seed: int) -> Tensor:
    """Each example with the values of another, token by token; a longer one gets the other's last token for the rest."""
    other = derangement(clean.shape[0], seed)
    if site.axes_of(clean)[:2] != ("batch", "position") or inputs.mask is None:
        return clean[other]
    frame = inputs.frame_of(site).fitted(*clean.shape[:2])
    place = torch.arange(clean.shape[1]) - frame.start[:, None]
    length = (frame.stop - frame.start)[other][:, None]
    column = frame.start[other][:, None] + place.clamp(min=0).minimum(length - 1)
    return clean[other[:, None], column]


def _real(clean: Tensor, axes: tuple[str, ...], site: Site, inputs: Inputs) -> Tensor | None:
    """Which cells [n, position] hold real tokens; None where there are no positions."""
    if axes[:2] != ("batch", "position"):
        return None
    columns, frame = torch.arange(clean.shape[1]), inputs.frame_of(site).fitted(*clean.shape[:2])
    return ((columns >= frame.start[:, None]) & (columns < frame.stop[:, None])).to(clean.device)
