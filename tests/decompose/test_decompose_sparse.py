"""The sparse products against dense autograd in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.decompose.sparse import Support, pick, sparse_decode


def ragged(rows: int, latents: int, share: float, seed: int) -> torch.Tensor:
    return torch.rand(rows, latents, generator=torch.Generator().manual_seed(seed)) < share


def leaf(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 7), st.integers(1, 9), st.integers(1, 5), st.sampled_from([0.0, 0.2, 0.7, 1.0]), st.integers(0, 99))
def test_encode_and_decode_equal_the_dense_products_with_all_gradients(rows, latents, d, share, seed):
    mask = ragged(rows, latents, share, seed)
    support = Support.where(mask)
    inputs = {"x": leaf(rows, d, seed=seed + 1), "E": leaf(latents, d, seed=seed + 2), "b": leaf(latents, seed=seed + 3)}
    inputs["D"] = leaf(latents, d, seed=seed + 4)
    weight = leaf(rows, d, seed=seed + 5).detach()

    with torch.no_grad():
        pre = inputs["x"] @ inputs["E"].T + inputs["b"]
    values = pick(support, pre, inputs["x"], inputs["E"], inputs["b"])
    fast = sparse_decode(support, values.relu(), inputs["D"])
    slow = ((inputs["x"] @ inputs["E"].T + inputs["b"]).relu() * mask) @ inputs["D"]
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(support.dense(values), pre * mask, rtol=0, atol=0)

    got = torch.autograd.grad((fast * weight).sum() + fast.square().sum(), list(inputs.values()))
    want = torch.autograd.grad((slow * weight).sum() + slow.square().sum(), list(inputs.values()))
    for g, w, name in zip(got, want, inputs):
        torch.testing.assert_close(g, w, rtol=1e-10, atol=1e-10, msg=lambda m, name=name: f"{name}: {m}")


def test_fixed_support_lists_the_same_entries_as_a_mask():
    indices = torch.tensor([[3, 0], [1, 2], [2, 3]])
    mask = torch.zeros(3, 4, dtype=torch.bool).scatter(1, indices, True)
    a, b = Support.fixed(indices, 4), Support.where(mask)
    assert a.rows.tolist() == b.rows.tolist() == [0, 0, 1, 1, 2, 2]
    assert sorted(zip(a.rows.tolist(), a.indices.tolist())) == list(zip(b.rows.tolist(), b.indices.tolist()))


def test_gradcheck():
    support = Support.where(ragged(4, 5, 0.5, 0))
    table, x, bias = leaf(5, 3, seed=1), leaf(4, 3, seed=2), leaf(5, seed=3)

    def run(x, table, bias):
        pre = (x @ table.T + bias).detach()
        return sparse_decode(support, pick(support, pre, x, table, bias), table)

    assert torch.autograd.gradcheck(run, (x, table, bias))


def test_no_second_derivative_is_offered_rather_than_a_wrong_one():
    support, table = Support.where(ragged(3, 4, 0.6, 0)), leaf(4, 2, seed=1)
    values = leaf(support.indices.numel(), seed=2)
    (grad,) = torch.autograd.grad(sparse_decode(support, values, table).square().sum(), table, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
