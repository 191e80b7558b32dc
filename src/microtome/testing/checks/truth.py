"""Checks 10 and 11: the planted truth is found, and where nothing was planted nothing is."""

from collections.abc import Sequence

from microtome.testing.case import Case
from microtome.testing.report import Failed

#: Two in twenty-three: more null findings than this at alpha 0.05 happen by chance in fewer than 1 run of 100.
RATE = {3: 1, 5: 2, 20: 4}
#: With so many seeds chance ranks what was not planted first now and then: then nine pairs in ten must be in order, not all.
MANY, ORDERED = 20, 0.9


def truth(case: Case) -> None:
    """Check 10: the planted truth is recovered on every seed (of 20 seeds, on 19)."""
    scores = [_score(case, s) for s in case.seeds]
    floor = case.family.PLANTED
    missed = [f"seed {s}: {x:.3f}" for s, x in zip(case.seeds, scores, strict=True) if not x >= floor]
    if len(missed) > len(scores) // 20:
        raise Failed(f"truth score below {floor} on {', '.join(missed)}")


def null(case: Case) -> None:
    """Check 11: without structure scores stay below planted ones, and findings appear at their rate."""
    planted = [_score(case, s) for s in case.seeds]
    results = [case.run(case.null(s), seed=s) for s in case.seeds]
    empty = [case.family.truth(case.method, r, case.world(s)) for r, s in zip(results, case.seeds, strict=True)]
    share, strict = ordered(planted, empty), max(empty) < min(planted)
    if not (strict or (len(planted) >= MANY and share >= ORDERED)):
        raise Failed(f"score without structure up to {max(empty):.3f}, with planted structure from {min(planted):.3f}; "
                     f"{share:.2f} of the pairs are in order")  # fmt: skip
    supported = sum(getattr(r, "verdict", "") == "supported" for r in results)
    if supported > RATE.get(len(results), len(results) // 5 + 1):
        raise Failed(f"{supported} of {len(results)} findings are supported where there is nothing to find")


def ordered(planted: Sequence[float], empty: Sequence[float]) -> float:
    """Share of pairs of a planted and an empty world in which the planted one scores higher; equal ones count half."""
    return sum((a > b) + 0.5 * (a == b) for a in planted for b in empty) / (len(planted) * len(empty))


def _score(case: Case, seed: int) -> float:
    world = case.usual[0] if seed == 0 else case.world(seed)
    result = case.usual[1] if seed == 0 else case.run(world, seed=seed)
    return case.family.truth(case.method, result, world)
