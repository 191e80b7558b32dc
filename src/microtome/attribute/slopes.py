"""Gradients of a metric, with a typed error where there can be none."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from microtome.errors import SiteError
from microtome.subject.edit import Edit
from microtome.subject.gradients import gradients as plain_gradients
from microtome.subject.inputs import Inputs

#: What torch says -> what it means for a site.
_MEANS = {
    "does not require grad": "nothing that can be differentiated leads from there to the metric (argmax, rounding, a table "
    "that is looked up, or a step without gradients lies between); name a later site, or ask a method without gradients: "
    "occlusion, kernel_shap",
    "can require gradients": "it holds whole numbers, which have no gradient; name the site behind the embedding",
}


def gradients(
    subject: Any,
    inputs: Inputs,
    sites: Sequence[str],
    metric: Callable[[Tensor], Tensor],
    edits: Sequence[Edit] = (),
    seen: Sequence[str] = (),
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """As `microtome.subject.gradients.gradients`.

    Raises
    ------
    SiteError
        When a site cannot be differentiated.
    """
    try:
        return plain_gradients(subject, inputs, sites, metric, edits, seen)
    except RuntimeError as error:
        why = next((told for said, told in _MEANS.items() if said in str(error)), None)
        if why is None:
            raise
        raise SiteError(f"{', '.join(sites)} in {subject.name} has no gradient: {why}.") from error


def differentiable(site: str, value: Tensor) -> None:
    """Refuse a site of whole numbers before anything is computed on it."""
    if not value.dtype.is_floating_point:
        raise SiteError(f"{site} has no gradient: {_MEANS['can require gradients']}.")
