"""Models trained side by side are those trained one by one."""

import pytest
import torch

from microtome.errors import UsageError
from microtome.organisms.population import fit_population
from microtome.organisms.small import decoder, fit_tokens
from microtome.rng import torch_rng


def batch(step):
    ids = torch.randint(0, 5, (3, 4, 6), generator=torch_rng(0, "population", step))
    return ids, ids.roll(-1, dims=2)


def test_one_model_agrees_with_fit_tokens():
    together, alone = (decoder(5, layers=1, width=8, heads=2, context=6, family="plain") for _ in range(2))
    fit_population([together], lambda step: tuple(x[:1] for x in batch(step)), 4)
    fit_tokens(alone, lambda step: tuple(x[0] for x in batch(step)), 4)
    for a, b in zip(together.parameters(), alone.parameters()):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_each_model_learns_from_its_own_rows():
    models = [decoder(5, layers=1, width=16, heads=2, context=6, family="plain", seed=s) for s in range(2)]
    ids = torch.zeros(2, 4, 6, dtype=torch.long)
    targets = torch.stack([torch.full((4, 6), 1), torch.full((4, 6), 2)])
    fit_population(models, lambda step: (ids, targets), 60, lr=1e-2)
    with torch.no_grad():
        assert [int(m(ids[0]).logits.argmax(-1)[0, 0]) for m in models] == [1, 2]
    assert not any(m.training for m in models)


def test_models_of_different_shape_are_refused():
    with pytest.raises(UsageError, match="one architecture"):
        fit_population([decoder(5, width=8, heads=2, family="plain"), decoder(5, width=16, heads=2, family="plain")], batch, 1)
    with pytest.raises(UsageError, match="at least one"):
        fit_population([], batch, 1)
