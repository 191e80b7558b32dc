"""Which marked properties the descriptions of units name, found without looking at the marks."""

from typing import Any

import numpy as np

#: A description names a property when its predicate has at least this F1 for it on all rows.
NAMES = 0.7
#: Rows that a property needs to count.
FEWEST = 20


def liveliest(recording: Any, count: int) -> tuple[str, list[int]]:
    """The middle site, and its units with the heaviest tails: off most of the time and then clearly on."""
    sites = list(recording.sites)
    site = sites[len(sites) // 2]
    x = recording[site].matrix().double().numpy()
    z = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9)
    order = np.argsort(-(z**4).mean(axis=0), kind="stable")
    return site, sorted(int(u) for u in order[:count])


def known(recording: Any) -> list[str]:
    """Properties marked on enough rows to be named."""
    return [p for p in recording.properties if recording.labels(p).sum() >= FEWEST]


def named(descriptions: Any, recording: Any, tokens: list[str]) -> dict[str, tuple[Any, float]]:
    """Property -> (description, F1) of the described unit whose predicate fits it best, where F1 is at least `NAMES`."""
    out: dict[str, tuple[Any, float]] = {}
    applied = [(d, np.asarray(d.applies(recording, tokens))) for d in descriptions.described]
    for name in known(recording):
        label = recording.labels(name)
        for d, fires in applied:
            both = float((fires & label).sum())
            f1 = 2 * both / max(1.0, float(fires.sum() + label.sum()))
            if f1 >= NAMES and f1 > out.get(name, (None, 0.0))[1]:
                out[name] = (d, f1)
    return out
