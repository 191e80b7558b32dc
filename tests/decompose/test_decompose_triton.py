"""The Triton kernels against the torch path: in Triton's interpreter where Triton is installed, on a GPU where there is one."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from microtome.decompose import Recipe, TopK, sparse, train_many, triton_sums
from microtome.decompose.batch_topk_sae import BatchTopK
from microtome.decompose.matryoshka_sae import Matryoshka
from microtome.subject.recording import Recording


@pytest.fixture(scope="module")
def interpreted() -> dict:
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed here (it comes with torch for CUDA)")
    script = Path(__file__).with_name("triton_interpreted.py")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_values_and_gradients_are_those_of_torch(interpreted):
    worst = interpreted["compared"]
    assert len(worst) == 30
    assert {case: error for case, error in worst.items() if not error <= (1e-12 if "float64" in case else 1e-5)} == {}


def test_halves_are_summed_in_float32(interpreted):
    assert interpreted["halves"] <= 2**-7  # the interpreter cuts off where a GPU rounds; sums in bfloat16 are far beyond


def test_a_row_that_does_not_exist_gives_nan_and_is_not_read(interpreted):
    bags, entries = [True, True, False], [False, True, False, True, False, True]
    assert interpreted["missing_rows"] == [*bags, *bags, *entries]


def test_kernels_that_disagree_with_torch_are_not_used_and_that_is_told(interpreted):
    assert interpreted["self_check"] == [True, False, "KernelsUnused"]


def test_training_on_the_kernels_is_training(interpreted):
    kernels, torch_path = interpreted["mixed"]
    assert kernels == pytest.approx(torch_path, abs=1e-4)


@pytest.mark.parametrize("formula", [TopK(2), BatchTopK(2), Matryoshka(2, prefixes=(4, 16))], ids=lambda f: type(f).__name__)
def test_mixed_precision_trains_sparse_dictionaries_on_float32_parameters(planted, formula):
    """bfloat16 changes the products, not what is kept: parameters stay float32, and the fit is nearly the same."""
    recording, fvu = Recording.of(torch.as_tensor(planted.x).float()), {}
    for mixed in (False, True):
        found = train_many(recording, {"a": Recipe(formula, 16, lr=5e-3)}, steps=60, batch=64, mixed=mixed)["a"]
        assert found.W_dec.dtype == found.W_enc.dtype == torch.float32
        fvu[mixed] = found.metrics["fvu"]
    assert fvu[True] == pytest.approx(fvu[False], rel=0.05)


def test_cpu_tensors_stay_with_torch():
    assert sparse._kernels(torch.ones(1)) is None


@pytest.mark.gpu
def test_on_a_gpu_the_kernels_are_used_agree_with_torch_and_repeat_their_bytes():
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed here")
    assert triton_sums.usable(torch.device("cuda", 0))
    draw = torch.Generator().manual_seed(0)
    rows, k, latents, d = 300, 32, 1000, 771
    indices = torch.rand(rows, latents, generator=draw).topk(k).indices
    given = [torch.randn(*shape, generator=draw) for shape in ((rows * k,), (latents, d), (rows, d))]

    def run(device: str, dtype: torch.dtype) -> list[torch.Tensor]:
        values, table, weight = (t.to(device, dtype) for t in given)
        values.requires_grad_(), table.requires_grad_()
        out = sparse.sparse_decode(sparse.Support.fixed(indices.to(device), latents), values, table)
        return [t.cpu() for t in (out, *torch.autograd.grad((out * weight).sum(), (values, table)))]

    exact, found, again = run("cpu", torch.float64), run("cuda", torch.float32), run("cuda", torch.float32)
    for e, f, g in zip(exact, found, again):
        torch.testing.assert_close(f.double(), e, rtol=1e-4, atol=1e-4)
        assert torch.equal(f, g)
