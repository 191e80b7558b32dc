"""The dead-salmon test of any pipeline: does its finding survive on twins of the subject that learned nothing?"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from microtome.errors import UsageError
from microtome.evidence import Finding, Provenance, salmon_test
from microtome.rng import derive


def salmon(
    method: Callable[[Any], Any],
    subject: Any,
    *,
    twins: Mapping[str, Iterable[Any]] | None = None,
    kinds: Sequence[str] = ("reinit", "weight_shuffle"),
    draws: int = 39,
    alternative: str = "greater",
    groups: Any = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Finding:
    """Run a method on a subject and on its randomised twins, and say whether what it finds survives.

    ``p = (1 + #{twin statistic >= statistic}) / (1 + draws)`` per statistic and kind of twin, Benjamini-Hochberg over all.

    Parameters
    ----------
    method : callable
        Takes a subject; returns a Finding (its estimate is the statistic), a number, or {name: number or array [n] over
        inputs}. It must do for each twin all that it does for the subject: fit, choose, judge.
    subject : Subject
    twins : mapping of str to iterable of Subject, optional
        Kind -> twins, consumed one by one. Default: `draws` of each of `kinds`, from `Subject.twin`.
    kinds : sequence of str, default ("reinit", "weight_shuffle")
        Weights re-drawn by the model's own initialiser; or every tensor's weights shuffled, which keeps norms.
    draws : int, default 39
        Twins of each kind; the smallest p is 1 / (draws + 1).
    alternative : {"greater", "less", "two-sided"}, default "greater"
        Which deviation counts.
    groups : array_like [n], optional
        Document of each input, for the interval of statistics over inputs.
    alpha : float, default 0.05
        Level of the finding.
    seed : int, default 0
        Of the twins and the bootstrap.

    Returns
    -------
    Finding
        "supported" when the statistic stands out from every kind of twin. Table: statistic, null, observed, null_mean,
        percentile, p, q, survives.

    Raises
    ------
    UsageError
        When draws is below 1, or the method returns something else.
    Degenerate, NonFinite, ShapeError
        As `microtome.evidence.salmon_test`.

    Warns
    -----
    WeakNull
        When the twins only differ in their labels.

    Notes
    -----
    Null: an untrained network is supported at rate alpha at most.
    Misleads when the method was tuned by hand on the subject: the twins did not get that. The subject is one draw of
    training; a claim about training needs several.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.subject import Subject
    >>> subject = Subject(torch.nn.Linear(4, 1))
    >>> _ = torch.nn.init.constant_(subject.module.weight, 3.0)
    >>> found = salmon(lambda s: float(s.module.weight.detach().norm()), subject, kinds=["reinit"])
    >>> found.verdict, len(found.table)
    ('supported', 1)

    References
    ----------
    Méloux, Dirupo, Portet, Peyrard (2025). The Dead Salmons of AI Interpretability. https://arxiv.org/abs/2512.18792
    """
    if twins is None:
        if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
            raise UsageError(f"draws must be an int >= 1, got {draws!r}.")
        twins = {kind: drawn(subject, kind, draws, seed) for kind in kinds}
    claims: list[str] = []

    def pipeline(model: Any) -> Mapping[str, Any]:
        result = method(model)
        claims.append(result.claim if isinstance(result, Finding) else "")
        return statistics(result)

    found = salmon_test(pipeline, subject, twins, alternative=alternative, groups=groups, alpha=alpha, seed=seed)
    data = Provenance(subject=subject.fingerprint() if hasattr(subject, "fingerprint") else "", seed=seed)
    claim = f"{claims[0]}, and in no network that learned nothing" if claims[0] else found.claim
    return replace(found, claim=claim, provenance=data)


def drawn(subject: Any, kind: str, draws: int, seed: int) -> Iterator[Any]:
    """Twins of one kind, made when they are asked for, so that one at a time is in memory."""
    for i in range(draws):
        yield subject.twin(kind, seed=derive(seed, "salmon", kind, i))


def statistics(result: Any) -> Mapping[str, Any]:
    """What a method returned, as statistics by name."""
    if isinstance(result, Mapping):
        return result
    if isinstance(result, Finding):
        if result.estimate is None:
            raise UsageError(f"the finding '{result.claim}' has no estimate; return a dict of statistics instead.")
        return {"estimate": result.estimate.value}
    if isinstance(result, (int, float)) and not isinstance(result, bool):
        return {"statistic": float(result)}
    raise UsageError(f"the method must return a Finding, a number or a dict of statistics, got {type(result).__name__}.")


class Stage(NamedTuple):
    """One step of a cascade: the part that was randomised last, and the twin in which it and all above it are."""

    part: str
    twin: Any


def cascade(subject: Any, seed: int = 0, *, kind: str = "reinit") -> Iterator[Stage]:
    """Twins of a subject randomised from the top down: the head, then the head and the last block, ... then everything.

    A method that reads what was learned changes as more is randomised (Adebayo et al. 2018).

    Parameters
    ----------
    subject : Subject
    seed : int, default 0
        The same part gets the same random weights at every stage.
    kind : {"reinit", "weight_shuffle"}, default "reinit"

    Yields
    ------
    Stage
        ``part`` (e.g. "head", "blocks.3", "embed", or a module path) and ``twin``.

    Notes
    -----
    Parts without blocks are taken in the order in which the module defines them. A head tied to the embeddings is one
    tensor with them, and is randomised last.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.subject import Subject
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    >>> [stage.part for stage in cascade(Subject(net))]
    ['2', '0']
    """
    parts = parts_of(subject)
    order = list(parts)
    for i in range(len(order) - 1, -1, -1):
        yield Stage(order[i], subject.twin(kind, seed=seed, keep=[n for part in order[:i] for n in parts[part]]))


def parts_of(subject: Any) -> dict[str, list[str]]:
    """Names of the parameters of each part, from the input up: "embed", "blocks.0", ..., "head"; else module paths."""
    parts: dict[str, list[str]] = {}
    beside = "embed"
    for name, _ in subject.module.named_parameters():
        trunk = next((t for t in subject.trunks if name.startswith(f"{t.blocks}.")), None)
        if trunk is not None:
            stack = f"{trunk.stack.name}." if trunk.stack.name else ""
            part, beside = f"{stack}blocks.{name[len(trunk.blocks) + 1 :].partition('.')[0]}", "head"
        else:
            part = beside if subject.trunks else name.rpartition(".")[0]
        parts.setdefault(part, []).append(name)
    return parts
