"""Run by test_decompose_triton.py under TRITON_INTERPRET=1: the kernels, on the CPU, against the torch path.

Prints one JSON object: by case the largest difference as a share of the largest value, and what the refusals did.
"""

import itertools
import json
import sys
import warnings

import torch

from microtome.decompose import sparse, triton_sums

torch.set_num_threads(1)
TORCH, KERNELS = (lambda like: None), (lambda like: triton_sums)


def random(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def supports(rows: int, k: int, latents: int) -> dict[str, sparse.Support]:
    draw = torch.Generator().manual_seed(rows + k)
    fixed = torch.randint(latents, (rows, k), generator=draw)  # with repetitions within a row
    mask = torch.rand(rows, latents, generator=draw) < 0.3
    mask[rows // 2] = False  # an empty row
    mask[:, latents // 2] = False  # a latent that never fires
    return {
        "fixed": sparse.Support.fixed(fixed, latents),
        "same": sparse.Support.fixed(torch.full_like(fixed, latents - 1), latents),
        "ragged": sparse.Support.where(mask),
        "empty": sparse.Support.where(mask & False),
    }


def result(path, support: sparse.Support, d: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Output and all gradients of decode(pick(...)) by one path."""
    sparse._kernels = path
    rows, n = len(support.offsets), len(support.indices)
    x, encoder, bias = random(rows, d, seed=1), random(support.latents, d, seed=2) / d**0.5, random(support.latents, seed=3)
    given = [t.to(dtype).requires_grad_() for t in (x, encoder, bias, random(support.latents, d, seed=4), random(n, seed=5))]
    x, encoder, bias, decoder, more = given
    values = sparse.pick(support, (x @ encoder.T + bias).detach(), x, encoder, bias) + more
    out = sparse.sparse_decode(support, values, decoder)
    weight = random(rows, d, seed=6).to(dtype).T.contiguous().T  # a gradient that is not contiguous
    grads = torch.autograd.grad((out * weight).sum() + out.square().sum() / d, given)
    return [out.detach(), *grads]


def compared() -> dict[str, float]:
    found = {}
    shapes = [(1, 1, 1, 1), (7, 1, 5, 3), (13, 5, 30, 24), (5, 9, 12, 257), (9, 17, 40, 300), (3, 32, 20, 768)]
    kinds = [(kind, torch.float64) for kind in ("fixed", "same", "ragged", "empty")] + [("fixed", torch.float32)]
    for (rows, k, latents, d), (kind, dtype) in itertools.product(shapes, kinds):
        support = supports(rows, k, latents)[kind]
        pairs = zip(result(KERNELS, support, d, dtype), result(TORCH, support, d, dtype))
        worst = [float((a - b).abs().max() / b.abs().max().clamp_min(1)) for a, b in pairs if b.numel()]
        found[f"{rows}x{k} of {latents}, d={d}, {kind}, {str(dtype)[6:]}"] = max(worst)
    return found


def halves() -> float:
    """bfloat16 tables, summed in float32: one unit in the last place from the exact sum."""
    support = supports(9, 17, 40)["fixed"]
    weight, table = random(153, seed=0).bfloat16(), random(40, 24, seed=1).bfloat16()
    found = triton_sums.bag_sums(support.indices, support.offsets, weight, table)
    code = torch.zeros(9, 40).double().index_put_((support.rows, support.indices), weight.double(), accumulate=True)
    exact = code @ table.double()  # repeated entries add up
    return float(((found.double() - exact).abs() / exact.abs().clamp_min(1e-2)).max())


def missing_rows() -> list[bool]:
    """Indices outside of the table make NaN where they are, and nowhere else."""
    index, start, table = torch.tensor([0, 4, 1, -1, 2, 3]), torch.tensor([0, 2, 4]), random(4, 5, seed=0)
    sums = triton_sums.bag_sums(index, start, torch.ones(6), table)
    dots = triton_sums.entry_dots(torch.tensor([0, 0, 1, 1, 2, 3]), index, random(3, 5, seed=1), table)
    return [bool(v) for v in (*sums.isnan().all(1), *sums.isnan().any(1), *dots.isnan())]


def self_check() -> list[object]:
    """`usable` accepts the kernels, and tells when one of them is wrong."""
    good = triton_sums.usable(torch.device("cpu"))
    triton_sums.usable.cache_clear()
    right, triton_sums.entry_dots = triton_sums.entry_dots, lambda *given: right(*given) * 1.01
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        bad = triton_sums.usable(torch.device("cpu"))
    return [good, bad, *(w.category.__name__ for w in told)]


def mixed() -> list[float]:
    """A training on the kernels and on torch, both with products in bfloat16: the last FVU."""
    from microtome.decompose import Recipe, TopK, train_many
    from microtome.subject.recording import Recording

    x = random(64, 12, seed=0).relu() @ random(12, 12, seed=1)
    out = []
    for path in (KERNELS, TORCH):
        sparse._kernels = path
        found = train_many(Recording.of(x), {"a": Recipe(TopK(2), 16, lr=5e-3)}, steps=3, batch=32, mixed=True)
        out.append(found["a"].metrics["fvu"])
    return out


if __name__ == "__main__":
    parts = (compared, halves, missing_rows, self_check, mixed)
    sys.stdout.write(json.dumps({part.__name__: part() for part in parts}))
