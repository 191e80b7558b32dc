"""The fit of an alignment map: only the map is trained, on cached values, through the suffix of the network."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from microtome.errors import NonFinite, UsageError
from microtome.rng import torch_rng
from microtome.trace.alignment.basis import Aligned, AlignedLinear, AlignedRevNet, names_of
from microtome.trace.alignment.data import ROWS, Prepared, prepare
from microtome.trace.alignment.maps import AlignmentMap
from microtome.trace.alignment.score import interchange_accuracy

#: Points of the kept training curve.
CURVE = 50


def train(
    chart: AlignmentMap, data: Prepared, *, steps: int, batch: int, lr: float, seed: int, weights: Tensor | None = None
) -> dict[str, list]:
    """Minimise the cross-entropy of interchanged outputs against counterfactual labels; the curve.

    Adam, warm-up over a tenth of the updates, then linear decay. `weights` [n] weigh the pairs.
    """
    if steps < 1 or batch < 1 or not lr > 0:
        raise UsageError(f"steps and batch must be at least 1 and lr above 0, got {steps}, {batch}, {lr}.")
    n, pairs = len(data.pairs), data.pairs
    device = data.base.device
    base, sources = data.base.float(), [s.float() for s in data.sources.values()]
    chosen = torch.stack([pairs.chosen[v] for v in data.sources], 1).to(device)
    labels = pairs.labels.to(device)
    weights = None if weights is None else (weights / weights.mean()).to(device)
    chart.to(device)
    groups = chart.groups(lr)
    rates = [g["lr"] for g in groups]
    optimizer = torch.optim.Adam(groups)
    variables = [p for g in groups for p in g["params"]]
    order = _batches(n, batch, steps, seed)
    curve: dict[str, list] = {"step": [], "loss": []}
    for step in range(steps):
        rows = order[step].to(device)
        chart.anneal(step / max(1, steps - 1))
        with torch.enable_grad():
            new = chart.interchange(base[rows], [s[rows] for s in sources], chosen[rows])
            logits = data.suffix(new.to(data.base.dtype), rows).float()
            each = torch.nn.functional.cross_entropy(logits, labels[rows], reduction="none")
            loss = (each if weights is None else each * weights[rows]).mean() + chart.penalty()
            grads = torch.autograd.grad(loss, variables)
        if step % max(1, steps // CURVE) == 0 or step == steps - 1:
            curve["step"].append(step)
            curve["loss"].append(_finite(loss, step))
        for parameter, grad in zip(variables, grads):
            parameter.grad = grad
        chart.before_step()
        share = (step + 1) / steps
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate * min(1.0, 10 * share) * min(1.0, (1 - step / steps) / 0.9)
        optimizer.step()
        chart.after_step()
    return curve


def _batches(n: int, batch: int, steps: int, seed: int) -> list[Tensor]:
    """Rows of each update: permutations of all pairs one after another."""
    generator, size = torch_rng(seed, "alignment", "batches"), min(batch, n)
    rows = torch.cat([torch.randperm(n, generator=generator) for _ in range(-(-steps * size // n))])
    return list(rows[: steps * size].view(steps, size))


def _finite(loss: Tensor, step: int) -> float:
    value = float(loss.detach())
    if value != value or abs(value) == float("inf"):
        raise NonFinite(f"the loss of the alignment is {value} at step {step}. Lower lr.")
    return value


def fitted(
    subject: Any, pairs: Any, site: str, position: Any, make: Callable[[Prepared], AlignmentMap], *,
    steps: int, batch: int, lr: float, seed: int, name: str, weights: Tensor | None = None,
) -> Aligned:  # fmt: skip
    """Prepare, train, harden: the basis with its figures on the training pairs."""
    data = prepare(subject, pairs, site, position)
    chart = make(data)
    curve = train(chart, data, steps=steps, batch=batch, lr=lr, seed=seed, weights=weights)
    basis = finished(chart, subject, data, name, position)
    basis.history = curve
    soft = {"soft_iia": soft_accuracy(chart, data)}
    if hasattr(chart, "hot"):
        chart.anneal(0.0)
        soft["hot_iia"] = soft_accuracy(chart, data)
    basis.metrics = {
        "train_iia": interchange_accuracy(data, basis), **soft, "width": float(len(basis.units())), "loss": curve["loss"][-1],
        "unedited": float((data.predictions == pairs.labels).float().mean()), "majority": pairs.majority,
    }  # fmt: skip
    return basis


@torch.no_grad()
def soft_accuracy(chart: AlignmentMap, data: Prepared) -> float:
    """Accuracy with the masks as they were trained, not yet hardened."""
    hits = []
    for rows in torch.arange(len(data.pairs)).split(ROWS):
        chosen = torch.stack([data.pairs.chosen[v][rows] for v in data.sources], 1).to(data.base.device)
        new = chart.interchange(data.base[rows].float(), [s[rows].float() for s in data.sources.values()], chosen)
        hits.append(data.suffix(new.to(data.base.dtype), rows).argmax(-1).cpu() == data.pairs.labels[rows].cpu())
    return float(torch.cat(hits).double().mean())


def finished(chart: AlignmentMap, subject: Any, data: Prepared, name: str, position: Any) -> Aligned:
    """The hard basis of a trained map."""
    parts = chart.parts()
    position = position.tolist() if isinstance(position, Tensor) else position
    about = {"position": position, "name": name, "subject": subject.fingerprint()}
    site = data.suffix.site.name
    if "tensors" in parts:
        weights = {k: v.cpu() for k, v in parts["tensors"].items()}
        return AlignedRevNet(site, weights, parts["blocks"], names=names_of(chart.width, parts["blocks"]), **about)
    encoder, decoder = parts["encoder"].cpu(), parts["decoder"].cpu()
    names = names_of(encoder.shape[1], parts["blocks"])
    return AlignedLinear(site, encoder, parts["blocks"], decoder=decoder, names=names, **about)


def sizes_for(size: Any, variables: list[str], width: int) -> dict[str, int]:
    """Coordinates of each variable: one number for all, or a number by name.

    Raises
    ------
    UsageError
        When they do not fit, or a name is unknown.
    """
    sizes = dict.fromkeys(variables, size) if not hasattr(size, "keys") else {v: size.get(v) for v in variables}
    unknown = set(size) - set(variables) if hasattr(size, "keys") else set()
    if unknown or not all(isinstance(k, int) and not isinstance(k, bool) and k >= 1 for k in sizes.values()):
        raise UsageError(f"size must be an int >= 1, or one for each of {variables}, got {size!r}.")
    if sum(sizes.values()) > width:
        raise UsageError(
            f"{sum(sizes.values())} coordinates ({sizes}) do not fit into a site of width {width}. Use a smaller size."
        )
    return sizes
