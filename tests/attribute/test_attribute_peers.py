"""The numbers of captum and shap on the same networks, stored; and, where the peers are installed, that these are still theirs.

zennit's rules and lxt's are compared in test_attribute_rules, pytorch-grad-cam's maps in test_attribute_cam, measures of
quantus and captum in test_attribute_measures, layers and GradientSHAP in test_random_paths.
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import peer_models as models
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from microtome.attribute import conductance, feature_ablation, integrated_gradients, kernel_shap, shapley_sampling
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PEERS = Path(os.environ.get("MICROTOME_PEERS") or ROOT / ".venv-peers")
PYTHON = PEERS.with_name(f"{PEERS.name}-attribute") / "bin" / "python"

#: Estimates whose draws the peer does not let itself be told: largest difference, relative to the largest value.
DRAWN = {"gradient_shap": 0.1}


class Zeroed(nn.Module):
    """One more class whose logit is always 0, so that a difference of logits is a logit."""

    def forward(self, y):
        return F.pad(y, (0, 1))


def stored(name: str, key: str) -> np.ndarray:
    with np.load(HERE / "references" / f"{name}.npz") as file:
        return file[key]


def single(net: nn.Module, x: torch.Tensor) -> tuple[Subject, Task]:
    task = Task("t", x, x * 0.5, models.TARGETS, torch.full((4,), 5), kind="image", groups=[0, 1, 2, 3])
    return Subject(nn.Sequential(*net, Zeroed())), task  # type: ignore[arg-type]


def game() -> tuple[tuple[Subject, Task], torch.Tensor]:
    every = models.rows()
    return single(models.table(), every[:4]), every[4]


def test_integrated_gradients_equal_captum():
    case = single(models.plain_cnn(nn.AvgPool2d), models.images())
    found = integrated_gradients(*case, baseline=models.images().flip(0) * 0.5, steps=24)
    np.testing.assert_allclose(found.values.numpy(), stored("captum", "integrated_gradients"), rtol=1e-7, atol=1e-10)


def test_kernel_shap_equals_shap():
    case, other = game()
    found = kernel_shap(*case, baseline=other, samples=62)
    np.testing.assert_allclose(found.values.numpy(), stored("games", "kernel_shap"), rtol=1e-6, atol=1e-9)


def test_kernel_shap_equals_the_exact_values_of_captum():
    case, other = game()
    found = kernel_shap(*case, baseline=other, samples=62)
    # captum adds up in float32.
    np.testing.assert_allclose(found.values.numpy(), stored("games", "shapley_values"), rtol=2e-5, atol=1e-6)


def test_shapley_sampling_agrees_with_captum_within_the_error_of_the_draws():
    case, other = game()
    exact, theirs = (stored("games", f"shapley_{what}") for what in ("values", "sampling"))
    ours = shapley_sampling(*case, baseline=other, samples=400).values.numpy()
    error, wide = np.linalg.norm(ours - exact), np.linalg.norm(theirs - exact)
    # Orders come in pairs of opposites, so 400 of ours are no worse than 2,000 of the peer's.
    assert error < 1.2 * wide < 0.03 * np.linalg.norm(exact)


def test_feature_ablation_equals_captum():
    case, other = game()
    found = feature_ablation(*case, baseline=other)
    np.testing.assert_allclose(found.values.numpy(), stored("games", "feature_ablation"), rtol=1e-9, atol=1e-12)


def test_conductance_approaches_captum():
    """Another rule of quadrature: both come near the same integral."""
    case, other = game()
    found = conductance(*case, at="1", baseline=other, steps=400)
    np.testing.assert_allclose(found.values.numpy(), stored("games", "conductance"), rtol=2e-3, atol=2e-4)


@pytest.mark.skipif(not PYTHON.is_file(), reason="the peers are not installed (benchmarks/peers-attribute.txt)")
@pytest.mark.parametrize(
    "names",
    [("zennit", "captum", "grad_cam"), pytest.param(("games", "lxt", "judge"), marks=pytest.mark.slow)],
    ids=["rules, paths and maps", "games, transformers and measures"],
)
def test_stored_numbers_are_what_the_peers_give_now(names, tmp_path):
    """The script that made the references, run again in the peers' own environment."""
    script = [str(PYTHON), str(HERE / "make_references.py"), "--out", str(tmp_path), *names]
    settings = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "PYTHONPATH": ""}
    done = subprocess.run(script, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in names:
        with np.load(tmp_path / f"{name}.npz") as now, np.load(HERE / "references" / f"{name}.npz") as then:
            assert sorted(now.files) == sorted(then.files)
            for key in now.files:
                scale = max(float(np.abs(then[key]).max()), 1e-12)
                # grad-cam computes in float32; a direction (Eigen-CAM) has no sign; GradientSHAP is drawn anew.
                signs = (1, -1) if key == "eigen_cam" else (1,)
                assert min(np.abs(s * now[key] - then[key]).max() for s in signs) <= DRAWN.get(key, 1e-5) * scale, key
