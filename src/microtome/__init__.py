"""microtome: a laboratory for neural networks.

>>> import microtome as mt
>>> subject = mt.load("organism:language")                                     # doctest: +SKIP
>>> recording = subject.record(["mary and john went home"], ["blocks.2.resid_post"])   # doctest: +SKIP

Names are loaded when they are first used, so that ``import microtome`` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_NAMES = {
    # nouns
    "Subject": "microtome.subject.subject",
    "RecordedOnly": "microtome.subject.recorded_only",
    "Site": "microtome.subject.site",
    "Inputs": "microtome.subject.inputs",
    "Recording": "microtome.subject.recording",
    "Basis": "microtome.subject.basis",
    "Unit": "microtome.subject.unit",
    "load_basis": "microtome.subject.basis",
    "Edit": "microtome.subject.edit",
    "Stimuli": "microtome.stimuli.stimuli",
    "Task": "microtome.stimuli.task",
    "CausalModel": "microtome.stimuli.causal",
    "Estimate": "microtome.evidence",
    "Null": "microtome.evidence",
    "Finding": "microtome.evidence",
    "Hypothesis": "microtome.evidence",
    "MicrotomeError": "microtome.errors",
    # verbs
    "load": "microtome.loading",
    "salmon": "microtome.salmon_test",
    "ablate": "microtome.subject.edit",
    "patch": "microtome.subject.edit",
    "steer": "microtome.subject.edit",
    "scale": "microtome.subject.edit",
    "clamp": "microtome.subject.edit",
    "swap": "microtome.subject.edit",
    "freeze": "microtome.subject.edit",
}
_RENAMED = {"replace": ("microtome.subject.edit", "replace_with")}
_ROOMS = ("attribute", "decompose", "describe", "errors", "evidence", "io", "organisms", "read", "search", "stimuli",
          "study", "testing", "trace")

__all__ = ["__version__", *_NAMES, *_RENAMED, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    if name in _RENAMED:
        module, attribute = _RENAMED[name]
        return getattr(import_module(module), attribute)
    if name in _ROOMS:
        return import_module(f"microtome.{name}")
    raise AttributeError(f"module 'microtome' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if TYPE_CHECKING:
    from microtome import (
        attribute,
        decompose,
        describe,
        errors,
        evidence,
        io,
        organisms,
        read,
        search,
        stimuli,
        study,
        testing,
        trace,
    )
    from microtome.errors import MicrotomeError
    from microtome.evidence import Estimate, Finding, Hypothesis, Null
    from microtome.loading import load
    from microtome.salmon_test import salmon
    from microtome.stimuli.causal import CausalModel
    from microtome.stimuli.stimuli import Stimuli
    from microtome.stimuli.task import Task
    from microtome.subject.basis import Basis, load_basis
    from microtome.subject.edit import Edit, ablate, clamp, freeze, patch, scale, steer, swap
    from microtome.subject.edit import replace_with as replace
    from microtome.subject.inputs import Inputs
    from microtome.subject.recorded_only import RecordedOnly
    from microtome.subject.recording import Recording
    from microtome.subject.site import Site
    from microtome.subject.subject import Subject
    from microtome.subject.unit import Unit
