"""Views: reading and writing a window of a module's tensor are exact inverses."""

import pytest
import torch

from microtome.errors import ShapeError
from microtome.subject.site import View


def test_views_are_inverses_and_leave_their_arguments():
    x = torch.randn(2, 5, 24, generator=torch.Generator().manual_seed(0))
    for view in (
        View(),
        View(heads=4),
        View(heads=2, start=8, stop=16),
        View(start=3, stop=9),
        View(heads=2, interleaved=3, part=1),
    ):
        kept = x.clone()
        value = view.get(x)
        assert torch.equal(view.put(x, value), x)
        new = view.put(x, value + 1)
        assert torch.equal(view.get(new), value + 1)
        assert torch.equal(x, kept)
        assert (new != x).sum() == value.numel()


def test_flat_views_need_the_number_of_positions():
    x = torch.arange(24.0).reshape(6, 4)
    view = View(flat=True)
    assert view.get(x, 3).shape == (2, 3, 4)
    assert torch.equal(view.put(x, view.get(x, 3) * 2), x * 2)
    with pytest.raises(ShapeError, match="positions"):
        view.get(x)


def test_carried_views_write_in_place():
    x = torch.zeros(2, 3)
    assert View(carried=True).put(x, torch.ones(2, 3)) is x
    assert x.sum() == 6
