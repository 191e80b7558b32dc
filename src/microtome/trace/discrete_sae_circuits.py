"""Circuits from discrete codes: heads whose codes occur with solvable prompts and never with unsolvable ones."""

from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.errors import NonFinite, ShapeError, SiteError, UsageError
from microtome.method import Paper, method
from microtome.trace.attribution_graph import KINDS, AttributionGraph
from microtome.trace.graph_files import empty
from microtome.trace.graph_maths import mass_of
from microtome.trace.measured import bound_pairs

if TYPE_CHECKING:
    from microtome.subject.basis import Basis
    from microtome.subject.recording import Recording

#: Site under which the outputs of all heads are recorded together.
SITE = "heads"


def head_outputs(subject: Any, task: Any) -> "Recording":
    """What each head adds to the stream at the answer, for clean then corrupt prompts: one row per prompt and head.

    Parameters
    ----------
    subject : Subject
    task : Task
        Clean prompts can be solved, corrupt ones not.

    Returns
    -------
    Recording
        At the site "heads", rows [2 n * heads of all blocks, d_model], to fit a dictionary on, e.g. with
        ``mt.decompose.relu_sae(recording, latents=200)``.
    """
    from microtome.subject.recording import Recording

    return Recording.of(_outputs(subject, bound_pairs(subject, task)).flatten(0, 1), site=SITE)


@method(
    question="trace",
    paper=Paper("O'Neill, Bui", 2024, "Sparse Autoencoders Enable Scalable and Reliable Circuit Identification in Language "
                "Models", "https://arxiv.org/abs/2405.12522"),
    needs=("subject", "task", "basis"),
    gives="AttributionGraph",
    stochastic=False,
    cost="two forwards",
    claim="Counting codes that occur with positive prompts only finds the heads of a circuit from ten prompts.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That a head or an edge is a cause: codes only co-occur with solvable prompts.",
)  # fmt: skip
def discrete_sae_circuits(
    subject: Any, task: Any, basis: "Basis", *, normalise: bool = False, excess: bool = False, edges: int | None = None
) -> AttributionGraph:
    """Score heads and pairs of heads by the discrete codes that occur with clean prompts and never with corrupt ones.

    ``code(prompt, head) = argmax_j h_j`` of one dictionary shared by all heads (a code of its own where nothing is active);
    node score = number of distinct codes of clean prompts that no corrupt prompt has; edge score = number of pairs of codes,
    head p before head q, that occur together with clean prompts only.

    Parameters
    ----------
    subject : Subject
    task : Task
        Clean prompts can be solved; corrupt ones have the same surface and cannot. Others than those the basis was fitted on:
        labels choose the codes.
    basis : Basis
        Of `head_outputs`. Paper: ReLU, 200 features, 500 epochs, penalty 0.02, on ten prompts.
    normalise : bool, default False
        Divide a head's score by its number of codes.
    excess : bool, default False
        Take off first what a head's codes score on average when clean and corrupt of each pair change places at random:
        ``2^-k`` for each code on one side only of its k pairs. Without it, heads score by how much their codes vary.
    edges : int, optional
        Pairs of heads kept, largest first; default: half of the square of the number of heads.

    Returns
    -------
    AttributionGraph
        One node per head (position -1); `effect` and `value` = its score, edge weights = pair scores.

    Raises
    ------
    ShapeError
        When the basis does not read vectors of the stream's width, or clean and corrupt prompts differ in length.
    SiteError
        When the subject has no heads.
    UsageError
        When `edges` is negative.
    NonFinite
        When the output of a head is not a number.

    Notes
    -----
    Null: with clean and corrupt prompts shuffled, heads that differ between them still score (half as high, as a rule): a head
    outside the circuit whose codes are constant stands below them all the same. `excess` brings the mean there to 0.
    Misleads when prompts differ in more than the task: any head that sees the difference scores. Scores are small counts
    with many ties. Edges are co-occurrence, not cause.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-induction")
    >>> task = subject.organism.examples(10)
    >>> basis = mt.decompose.random_dictionary(head_outputs(subject, task), latents=64, k=8)
    >>> graph = discrete_sae_circuits(subject, task, basis)
    >>> len(graph.of_kind("head"))
    8

    References
    ----------
    O'Neill, Bui (2024). Sparse Autoencoders Enable Scalable and Reliable Circuit Identification in Language Models.
    https://arxiv.org/abs/2405.12522
    """
    if edges is not None and edges < 0:
        raise UsageError(f"edges must be at least 0, got {edges}.")
    bound = bound_pairs(subject, task)
    outputs = _outputs(subject, bound)
    width = getattr(basis, "width", outputs.shape[-1])
    if width != outputs.shape[-1]:
        raise ShapeError(
            f"the basis reads {width} units, heads write {outputs.shape[-1]}. Fit it on head_outputs(subject, task)."
        )
    codes = discrete(basis, outputs)
    n, heads = len(bound), codes.shape[1]
    score = torch.tensor([_own(codes[:n, h], codes[n:, h], normalise, excess) for h in range(heads)])
    places = _heads(subject)
    pairs = [(p, q) for p, q in combinations(range(heads), 2) if places[p][0] < places[q][0]]
    weight = torch.tensor([float(len(_pairs(codes[:n], p, q) - _pairs(codes[n:], p, q))) for p, q in pairs])
    kept = weight.argsort(descending=True, stable=True)[: heads * heads // 2 if edges is None else edges]
    kept = kept[weight[kept] > 0]
    columns = empty(heads)
    columns["kind"][:] = KINDS.index("head")
    columns["layer"], columns["index"] = (torch.tensor([p[k] for p in places]) for k in (0, 1))
    columns["value"] = columns["effect"] = score
    source, target = (torch.tensor([pairs[i][k] for i in kept.tolist()], dtype=torch.long) for k in (0, 1))
    columns["mass"] = mass_of(heads, target, weight[kept])
    about = {"subject": subject.fingerprint(), "made": "discrete_sae_circuits: codes that occur with clean prompts only"}
    return AttributionGraph(**columns, source=source, target=target, weight=weight[kept], about=about)


def discrete(basis: "Basis", outputs: Tensor) -> Tensor:
    """Code of each prompt and head [2 n, heads]: the largest coordinate, or `dim` where none is active."""
    with torch.no_grad():
        h = basis.encode(outputs)
    return torch.where((h > 0).any(-1), h.argmax(-1), h.shape[-1])


def _own(clean: Tensor, corrupt: Tensor, normalise: bool, excess: bool) -> float:
    here, there = clean.tolist(), corrupt.tolist()
    own, seen = float(len({*here} - {*there})), {*here, *there}
    if excess:
        both = {a for a, b in zip(here, there) if a == b}
        own -= sum(2.0 ** -(here.count(c) + there.count(c)) for c in seen - both)
    return own / len(seen) if normalise else own


def _pairs(codes: Tensor, p: int, q: int) -> set[tuple[int, int]]:
    return set(zip(codes[:, p].tolist(), codes[:, q].tolist()))


def _heads(subject: Any) -> list[tuple[int, int]]:
    sites = [s for s in subject.sites("*attn.z") if s.block is not None]
    if not sites:
        raise SiteError(f"{subject.name} has no heads (sites '*attn.z').")
    return [(s.block, h) for s in sites for h in range(s.shape[0])]


def _outputs(subject: Any, bound: Any) -> Tensor:
    """Output of each head at the answer position [2 n, heads, d_model], clean prompts first."""
    sites = [s for s in subject.sites("*attn.z") if s.block is not None and _heads(subject)]
    both = []
    for inputs in (bound.inputs, bound.corrupt):
        run = subject.run(inputs, record=[s.name for s in sites], logits="none")
        at = inputs.lengths - 1 if bound.metric.positions is None else bound.metric.positions
        rows = torch.arange(len(inputs))
        parts = [_split(subject.module.get_submodule(s.module), run[s.name][rows, at]) for s in sites]
        both.append(torch.cat(parts, dim=1))
    outputs = torch.cat(both)
    if not bool(torch.isfinite(outputs).all()):
        raise NonFinite(f"{subject.name}: the output of a head is not a number on some prompt.")
    return outputs


def _split(module: Any, z: Tensor) -> Tensor:
    """z[n, head, unit] -> what each head adds [n, head, d_model]: the projection of that head alone, without the bias."""
    n, heads, units = z.shape
    alone = torch.zeros(n, heads, heads, units, dtype=z.dtype)
    index = torch.arange(heads)
    alone[:, index, index] = z
    with torch.no_grad():
        flat = alone.flatten(2)
        return module(flat) - module(torch.zeros_like(flat[:1, :1]))
