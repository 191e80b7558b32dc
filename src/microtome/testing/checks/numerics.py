"""Checks 7, 8, 9, 19: the same answer whatever the dtype, the batch, the storage and the device."""

import tempfile

import torch

from microtome.testing.case import Case, World
from microtome.testing.digest import digest
from microtome.testing.planted import with_matrix
from microtome.testing.report import Failed, Skip

#: How far the truth score may fall below that of float32 (or, where this is less, below what must be reached).
TOLERANCE = {torch.float64: 0.02, torch.bfloat16: 0.1, torch.float16: 0.05}


def _recorded(case: Case) -> World:
    if "recording" not in case.data:
        raise Skip("takes no recording")
    return case.usual[0]


def dtypes(case: Case) -> None:
    """Check 7: float16, bfloat16, float32 and float64 recordings give the same answer within tolerance."""
    world = _recorded(case)
    expected = min(case.family.PLANTED, case.family.truth(case.method, case.usual[1], world))
    for dtype in TOLERANCE:
        recording = with_matrix(world.given["recording"], lambda x, dtype=dtype: x.to(dtype))
        score = case.family.truth(case.method, case.run(world, {"recording": recording}), world)
        if not score >= expected - TOLERANCE[dtype]:
            raise Failed(f"{dtype}: truth score {score:.3f}, at least {expected:.3f} - {TOLERANCE[dtype]} was expected")


def batch(case: Case) -> None:
    """Check 8: an example gets the same values alone, among seven and among all."""
    part = getattr(case.family, "part", None)
    if part is None:
        where = "a recording streams by itself" if "recording" in case.data else "the result has no row per example"
        raise Skip(f"nothing to batch: {where}")
    world, _ = case.usual
    whole = case.family.rows(case.run(part(world, 64)))
    for n in (1, 7):
        rows = case.family.rows(case.run(part(world, n)))
        gap = float((rows - whole[:n]).abs().max())
        if gap > 1e-4 * max(1.0, float(whole.abs().max())):
            raise Failed(f"the values of the first {n} examples alone differ by {gap:.2g} from those among {len(whole)}")


def disk(case: Case) -> None:
    """Check 9: a recording saved to disk and loaded gives the same result as the one in memory."""
    world = _recorded(case)
    expected = digest(case.usual[1])
    given = world.given["recording"]
    with tempfile.TemporaryDirectory() as folder:
        given.save(folder)
        loaded = type(given).load(folder)
        found = digest(case.run(world, {"recording": loaded}))
    if found != expected:
        raise Failed("the result from a saved and loaded recording differs from that in memory")


def gpu(case: Case) -> None:
    """Check 19: the same answer on a GPU."""
    if not torch.cuda.is_available():
        raise Skip("no GPU here")
    world = case.world()
    expected = case.family.truth(case.method, case.usual[1], world)
    if "recording" in case.data:
        recording = with_matrix(world.given["recording"], lambda x: x.cuda())
        result = case.run(world, {"recording": recording})
    else:
        subject = world.given["subject"]
        subject.module.cuda()
        result = case.run(world)
        subject.module.cpu()
    score = case.family.truth(case.method, result, world)
    if abs(score - expected) > 0.05:
        raise Failed(f"truth score {score:.3f} on the GPU, {expected:.3f} on the CPU")
