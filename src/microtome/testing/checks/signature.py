"""Check 2: nouns first, the rest keyword-only, at most eight options."""

import inspect

from microtome.testing.case import Case
from microtome.testing.report import Failed

OPTIONS = 8
NOUNS = 3
#: Arguments that live in the nouns and the engine, never in a method.
SHARED = ("device", "batch_size", "dtype", "verbose", "n_jobs", "model", "tokenizer")


def signature(case: Case) -> None:
    """Check 2: data first and positional, options keyword-only with defaults, no ``**kwargs``, all annotated."""
    kinds = inspect.Parameter
    parameters = list(case.parameters.values())
    variadic = [p.name for p in parameters if p.kind in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
    if variadic:
        raise Failed(f"*args or **kwargs would swallow a misspelt option: {', '.join(variadic)}")
    options = [p for p in parameters if p.kind is kinds.KEYWORD_ONLY]
    nouns = [p for p in parameters if p.kind is not kinds.KEYWORD_ONLY]
    if not 1 <= len(nouns) <= NOUNS:
        raise Failed(f"{len(nouns)} positional arguments; 1 to {NOUNS} nouns come first, the rest is keyword-only")
    if len(options) > OPTIONS:
        raise Failed(f"{len(options)} options, at most {OPTIONS}: a ninth means a second function")
    shared = [p.name for p in parameters if p.name in SHARED]
    if "batch" in case.parameters and "steps" not in case.parameters:
        shared.append("batch")  # a batch is an option only where it is the step of a training
    if shared:
        raise Failed(f"{', '.join(shared)} belong to the nouns or the engine, not to a method")
    bare = [p.name for p in parameters if p.annotation is kinds.empty]
    if bare or inspect.signature(case.function).return_annotation is inspect.Signature.empty:
        raise Failed(f"without annotation: {', '.join(bare) or 'the return value'}")
    seed = case.parameters.get("seed")
    if seed is not None and (seed.kind is not kinds.KEYWORD_ONLY or seed.default != 0 or seed.default is False):
        raise Failed("seed must be keyword-only with the default 0")
    _refuses_unknown(case)


def _refuses_unknown(case: Case) -> None:
    try:
        case.function(*[None] * len(case.data), no_such_option=1)
    except TypeError as error:
        if "no_such_option" in str(error):
            return
    raise Failed("an unknown keyword does not raise TypeError")
