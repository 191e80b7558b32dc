"""The axioms as one card, on small random networks where each of them can be checked for any method."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from microtome.attribute.judge.places import scores_on
from microtome.attribute.judge.robustness import Explain
from microtome.errors import UsageError
from microtome.evidence import Finding, Provenance
from microtome.rng import torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

if TYPE_CHECKING:
    import pandas as pd

SIDE, CHANNELS, CLASSES, EXAMPLES = 6, 5, 3, 6
#: Columns that the networks of the dummy axiom do not read.
BLIND = 2
#: Above this cosine the maps of two classes count as one.
SAME_MAP = 0.9
#: First kernel, first bias, second matrix.
Weights = tuple[Tensor, Tensor, Tensor]


def axiom_card(explain: Explain, *, tolerance: float = 0.02, seed: int = 0) -> Finding:
    """Check a method against the axioms on random networks: conv 3 x 3, ReLU, linear; six pictures of 6 x 6 in float64.

    Parameters
    ----------
    explain : callable
        (subject, task) -> Attribution, with its options fixed. Maps over places of another grid are interpolated.
    tolerance : float, default 0.02
        Largest relative violation with which an axiom holds.
    seed : int, default 0
        Of networks and pictures.

    Returns
    -------
    Finding
        Table, one row per axiom: axiom, violation, limit, holds, control. ``control`` is the same measure where the premise is
        broken (another network, another picture); an axiom is only tested where it is above the limit.

        completeness: ``|sum A - (m(x) - m(x'))| / |m(x) - m(x')|``, x' the method's baseline, or 0.
        dummy: largest attribution of a column that the network cannot see, of the largest of all.
        rescaling, permutation, splitting: ``|A(f) - A(g)| / |A(f)|`` for two networks of one function, whose units differ so;
        implementation: the same where a bias stands before the first ReLU rather than after it (the paper's figure 7).
        linearity: ``|A(2f - 3g) - 2A(f) + 3A(g)| / |A(2f - 3g)|``.
        symmetry: ``|A - flipped A| / |A|`` where network and picture are symmetric.
        class sensitivity: cosine of the maps of two classes (limit 0.9).

    Raises
    ------
    UsageError
        For a tolerance that is not above 0.
    MicrotomeError
        Whatever the method raises on these networks.

    Notes
    -----
    Null: the column `control`.
    Misleads when a method is made for other networks (transformers): the card speaks of these alone. Methods that sample miss
    symmetry and completeness by their noise.

    Examples
    --------
    >>> from functools import partial
    >>> from microtome.attribute import gradient
    >>> card = axiom_card(partial(gradient, times="input")).table.set_index("axiom").holds
    >>> bool(card["rescaling"]), bool(card["completeness"])
    (True, False)

    References
    ----------
    Sundararajan, Taly, Yan (2017). Axiomatic Attribution for Deep Networks. https://arxiv.org/abs/1703.01365
    """
    import pandas as pd

    if not tolerance > 0:
        raise UsageError(f"tolerance must be above 0, got {tolerance!r}.")
    rows = [(axiom, *values) for axiom, values in _violations(explain, seed).items()]
    table = pd.DataFrame(rows, columns=["axiom", "violation", "control"])
    table.insert(2, "limit", [SAME_MAP if axiom == "class sensitivity" else tolerance for axiom in table.axiom])
    table.insert(3, "holds", table.violation <= table.limit)
    subject, task = _world(_weights(seed, "f"), _pictures(seed))
    name = explain(subject, task).method
    return Finding(
        f"{name} keeps {int(table.holds.sum())} of {len(table)} axioms: {', '.join(table.axiom[table.holds])}.",
        controls={f"{a} violated by": float(v) for a, v in zip(table.axiom, table.violation)}, table=table,
        provenance=Provenance(seed=seed), notes=_untested(table),
    )  # fmt: skip


def _untested(table: "pd.DataFrame") -> tuple[str, ...]:
    weak = table.axiom[table.control <= table.limit].tolist()
    return (f"Not tested, since a broken premise gives no violation either: {', '.join(weak)}.",) if weak else ()


def _violations(explain: Explain, seed: int) -> dict[str, tuple[float, float]]:
    """Violation and control of each axiom."""
    x, f, g = _pictures(seed), _weights(seed, "f"), _weights(seed, "g")

    def of(weights: Weights, inputs: Tensor = x, shift: int = 0) -> Tensor:
        subject, task = _world(weights, inputs, shift)
        return scores_on(explain(subject, task), [SIDE, SIDE], "the picture").view(-1, SIDE, SIDE)

    here, other = of(f), of(g)
    kernel, bias, head = f
    scale = torch.linspace(0.2, 4.0, CHANNELS, dtype=torch.float64)
    copies = {
        "rescaling": (kernel * scale.view(-1, 1, 1, 1), bias * scale, head / scale.view(1, -1, 1, 1)),
        "permutation": (kernel.flip(0), bias.flip(0), head.flip(1)),
        "splitting": (kernel.repeat(2, 1, 1, 1), bias.repeat(2), head.repeat(1, 2, 1, 1) / 2),
    }
    blind = head.clone()
    blind[..., SIDE - BLIND - 1 :] = 0  # the kernel reaches one column to each side
    unseen = of((kernel, bias, blind))
    both = (torch.cat([kernel, g[0]]), torch.cat([bias, g[1]]), torch.cat([2 * head, -3 * g[2]], 1))
    even = tuple(v if v.ndim == 1 else (v + v.flip(-1)) / 2 for v in f)
    mirrored = (x + x.flip(-1)) / 2
    balanced = of(even, mirrored)  # type: ignore[arg-type]
    joined, asked = of(both), of(f, shift=1)
    early, late, lower = (
        scores_on(explain(*_pairs(x.abs() * 2 + 0.5, before, after)), [SIDE, SIDE], "the picture")
        for before, after in ((1.0, 0.0), (0.0, 1.0), (0.0, 0.2))
    )
    return {
        "completeness": _completeness(explain, f, g, x),
        "dummy": tuple(float(m[..., -BLIND:].abs().max() / m.abs().max()) for m in (unseen, here)),
        **{name: (_apart(here, of(copy)), _apart(here, other)) for name, copy in copies.items()},
        "implementation": (_apart(early, late), _apart(early, lower)),
        "linearity": (_apart(joined, 2 * here - 3 * other), _apart(joined, 2 * here + 3 * other)),
        "symmetry": (_apart(balanced, balanced.flip(-1)), _apart(here, here.flip(-1))),
        "class sensitivity": tuple(
            float(nn.functional.cosine_similarity(here.flatten(1), m.flatten(1)).mean()) for m in (asked, here)
        ),
    }  # type: ignore[return-value]


def _completeness(explain: Explain, f: Weights, g: Weights, x: Tensor) -> tuple[float, float]:
    """|sum - (m(x) - m(baseline))| summed over examples, relative; the control is the difference of another network."""
    subject, task = _world(f, x)
    found = explain(subject, task)
    total = found.values.double().flatten(1).sum(1)
    start = _world(f, torch.zeros_like(x))
    zero = _outputs(start[0], start[1])
    own = found.output.double() - (zero if found.reference is None else found.reference.double())
    away = _outputs(*_world(g, x)) - _outputs(*_world(g, torch.zeros_like(x)))
    return float((total - own).abs().sum() / own.abs().sum()), float((total - away).abs().sum() / away.abs().sum())


def _outputs(subject: Subject, task: Task) -> Tensor:
    bound = subject.bind(task)
    return bound.metric(subject.run(bound.inputs).logits).double()


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / a.norm().clamp(min=1e-300))


def _world(weights: Weights, x: Tensor, shift: int = 0) -> tuple[Subject, Task]:
    """A network of these weights, and the task of naming one class rather than the last."""
    kernel, bias, head = weights
    conv = nn.Conv2d(1, len(bias), 3, padding=1)
    dense = nn.Linear(head[0].numel(), CLASSES, bias=False)
    net = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), dense).double()
    net.load_state_dict({"0.weight": kernel, "0.bias": bias, "3.weight": head.flatten(1)})
    answers = (torch.arange(len(x)) + shift) % (CLASSES - 1)
    wrong = torch.full_like(answers, CLASSES - 1)
    return Subject(net.eval()), Task("class", x, x.flip(0), answers, wrong, kind="image", groups=list(range(len(x))))


def _pairs(x: Tensor, before: float, after: float) -> tuple[Subject, Task]:
    """The sum over pairs (a, b) of columns of ReLU(ReLU(a - before) - after - ReLU(b)): of before + after alone."""
    pair, join = nn.Conv2d(1, 2, (1, 2), stride=(1, 2)), nn.Conv2d(2, 1, 1)
    dense = nn.Linear(SIDE * SIDE // 2, 2)
    net = nn.Sequential(pair, nn.ReLU(), join, nn.ReLU(), nn.Flatten(), dense).double()
    one = torch.ones(SIDE * SIDE // 2)
    net.load_state_dict({
        "0.weight": torch.eye(2).view(2, 1, 1, 2), "0.bias": torch.tensor([-before, 0.0]),
        "2.weight": torch.tensor([1.0, -1.0]).view(1, 2, 1, 1), "2.bias": torch.tensor([-after]),
        "5.weight": torch.stack([one, 0 * one]), "5.bias": torch.zeros(2),
    })  # fmt: skip
    zero = torch.zeros(len(x), dtype=torch.long)
    return Subject(net.eval()), Task("pairs", x, x.flip(0), zero, zero + 1, kind="image", groups=list(range(len(x))))


def _weights(seed: int, name: str) -> Weights:
    g = torch_rng(seed, "axioms", name)
    shapes = ((CHANNELS, 1, 3, 3), (CHANNELS,), (CLASSES, CHANNELS, SIDE, SIDE))
    kernel, bias, head = (torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)
    return kernel / 3, bias / 3, head / (CHANNELS * SIDE**2) ** 0.5


def _pictures(seed: int) -> Tensor:
    return torch.randn(EXAMPLES, 1, SIDE, SIDE, generator=torch_rng(seed, "axioms", "pictures"), dtype=torch.float64)
