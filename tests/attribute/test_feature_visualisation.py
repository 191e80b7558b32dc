"""Pictures made for a unit: how they are written and shaken, what is read, the climb, and what comes back."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from microtome.attribute import Objective, Transforms, Visualisation, channel, class_logit, direction, diversity, visualise
from microtome.attribute.visual.ascent import reader
from microtome.attribute.visual.canvas import WAYS, Canvas, mixing
from microtome.attribute.visual.objectives import as_objective
from microtome.attribute.visual.transforms import PENALTIES
from microtome.errors import FormatError, ShapeError, SiteError, UsageError
from microtome.evidence import Finding
from microtome.subject.basis import Linear
from microtome.subject.subject import Subject

STILL = Transforms(jitter=0.0, pad=0.0, scale=(1.0, 1.0), rotate=0.0)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def cnn(seed: int = 0, channels: int = 2) -> Subject:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Subject(nn.Sequential(
            nn.Conv2d(channels, 5, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(5, 4, 3, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
        ))  # fmt: skip


def test_closed_form_optimum_of_a_linear_network_is_reached():
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2, bias=False))
    weights, images, penalty = drawn(16, seed=1) - 0.5, drawn(30, 1, 4, 4), 8.0
    net[1].weight.data = torch.stack([weights, -weights])
    pull = {"l2": penalty}
    found = visualise(
        Subject(net), 0, images, starts=2, picture="pixels", transforms=None, penalties=pull, steps=600, twin=None
    )
    best = (images.mean() + 16 * weights / (2 * penalty)).clamp(images.min(), images.max())
    assert torch.allclose(found.images.flatten(1), best.expand(2, 16), atol=0.02)
    assert found.null is None
    assert (found.percentile == 100).all()


def test_climb_matches_adam_by_hand():
    subject, images = cnn(), drawn(12, 2, 9, 7)
    start, low, high = drawn(3, 2, 9, 7, seed=2), float(images.min()), float(images.max())
    kept = start.clone()
    found = visualise(subject, "2[1]", images, starts=start, picture="pixels", transforms=None, steps=5, lr=0.1,
                      penalties={"total_variation": 0.3}, twin=None)  # fmt: skip
    z = torch.logit(((start - low) / (high - low)).clamp(0.01, 0.99)).requires_grad_(True)
    first, second = torch.zeros_like(z), torch.zeros_like(z)
    for step in range(1, 6):
        x = low + (high - low) * torch.sigmoid(z)
        value = subject.module[2](subject.module[0](x).relu())[:, 1].mean(dim=(1, 2))
        rough = (x[:, :, 1:] - x[:, :, :-1]).abs().mean(dim=(1, 2, 3)) + (x[..., 1:] - x[..., :-1]).abs().mean(dim=(1, 2, 3))
        (g,) = torch.autograd.grad((0.3 * rough - value).sum(), z)
        assert torch.allclose(found.curve[step - 1], value, atol=1e-6)
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        z = z - 0.1 * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        z = z.detach().requires_grad_(True)
    assert torch.allclose(found.images, low + (high - low) * torch.sigmoid(z), atol=1e-5)
    assert torch.equal(start, kept)


def test_waves_agree_with_a_slow_sum():
    canvas = Canvas.of(drawn(20, 1, 4, 5))
    z = torch.randn(1, *WAYS["fourier"].numbers(canvas), generator=torch.Generator().manual_seed(0))
    slow = np.zeros((4, 5), dtype=complex)
    for v in range(4):
        for w in range(3):
            fy, fx = min(v, 4 - v) / 4, w / 5
            size = 1 / max(math.hypot(fy, fx), 1 / 5) * complex(*z[0, 0, v, w].tolist())
            for y in range(4):
                for x in range(5):
                    turn = 2j * math.pi * (v * y / 4 + w * x / 5)
                    wave = size * np.exp(turn)
                    # the half of the spectrum that is not stored is the mirror of the other: twice the real part
                    slow[y, x] += (wave.real if w == 0 else 2 * wave.real) / math.sqrt(20)
    assert np.allclose(WAYS["fourier"].paint(canvas, z)[0, 0].numpy(), slow.real, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 5), (1, 33), (2, 16), (2, 3, 4, 5)])
@pytest.mark.parametrize("name", list(WAYS))
def test_tracing_is_the_exact_inverse_of_painting(shape, name):
    canvas, picture = Canvas.of(drawn(20, *shape)), 0.1 + 0.8 * drawn(4, *shape, seed=1)
    u = canvas.unsquash(picture)
    z = WAYS[name].trace(canvas, u)
    assert tuple(z.shape[1:]) == WAYS[name].numbers(canvas)
    assert torch.allclose(canvas.squash(WAYS[name].paint(canvas, z)), picture, atol=1e-4)


def test_colours_have_the_correlations_of_the_images():
    rows = drawn(500, 3)
    rows[:, 1] = 0.7 * rows[:, 0] + 0.3 * rows[:, 1]
    mix = mixing(rows)
    made, wanted = (mix @ mix.T).numpy(), np.cov(rows.numpy().T, bias=True)
    assert np.allclose(made / np.trace(made), wanted / np.trace(wanted), atol=1e-5)
    assert float(mix.norm(dim=0).max()) == pytest.approx(1.0)


def test_shaking_by_nothing_is_the_identity_and_zoom_and_border_are_known():
    x, g = drawn(3, 2, 6, 8), torch.Generator().manual_seed(0)
    fill = torch.tensor([0.2, 0.7])
    assert torch.allclose(STILL(x, fill, g), x, atol=1e-6)
    half = Transforms(0.0, 0.5, (1.0, 1.0), 0.0)(x, fill, g)  # a border of half the size on each side: shown at half the size
    assert torch.allclose(half[:, :, :1], fill[:, None, None].expand(3, 2, 1, 8), atol=1e-6)
    assert torch.allclose(half[..., 2:6][:, :, 2], x[:, :, 1:3].mean(2).reshape(3, 2, 4, 2).mean(3), atol=1e-5)
    sound = drawn(3, 2, 16)
    assert Transforms(0.1, 0.1, (0.8, 1.2), 40.0)(sound, fill, g).shape == sound.shape
    assert torch.allclose(STILL(sound, fill, g), sound, atol=1e-6)
    with pytest.raises(ShapeError, match="transforms=None"):
        STILL(drawn(2, 1, 3, 3, 3), fill[:1], g)


def test_matrices_turn_shift_and_zoom_as_said():
    g, shaken = torch.Generator().manual_seed(0), Transforms(0.1, 0.0, (0.5, 2.0), 30.0)
    maps = shaken.matrices(2000, (6, 12), g).double()
    pixels = torch.diag(torch.tensor([6.0, 3.0]).double())  # half the width, half the height
    turned = pixels @ maps[:, :, :2] @ pixels.inverse()
    zoom = turned.det().sqrt()
    assert torch.allclose(turned @ turned.mT, zoom[:, None, None] ** 2 * torch.eye(2).double(), atol=1e-5)
    assert 1 / zoom.max() == pytest.approx(0.5, abs=0.01)
    assert 1 / zoom.min() == pytest.approx(2.0, abs=0.01)
    angle = torch.atan2(turned[:, 1, 0], turned[:, 0, 0]).rad2deg()
    assert 29 < float(angle.max()) <= 30.01
    assert 0.19 < float(maps[:, :, 2].abs().max()) <= 0.2


def test_objectives_equal_what_a_recording_says():
    subject, x = cnn(), drawn(4, 2, 9, 7)
    run = subject.run(x, record=["0", "2"])
    basis = Linear("2", torch.randn(4, 2, generator=torch.Generator().manual_seed(1)))
    cases = {
        as_objective("2[3]"): run["2"][:, 3].mean(dim=(1, 2)),
        channel("2", 1, place=(2, 0)): run["2"][:, 1, 2, 0],
        channel("0", 1, place="centre"): run["0"][:, 1, 4, 3],
        as_objective((basis, 1)): basis.encode(run["2"].movedim(1, -1))[..., 1].mean(dim=(1, 2)),
        class_logit(2) - 0.5 * channel("0", 4): run.logits[:, 2] - 0.5 * run["0"][:, 4].mean(dim=(1, 2)),
    }
    for objective, wanted in cases.items():
        with reader(subject, objective, x) as read:
            assert torch.allclose(read(x), wanted, atol=1e-6), objective
    assert str(direction(basis, 1, "centre")) == "2/linear[1] at centre"
    with reader(subject, diversity("2"), x) as read:
        assert torch.allclose(read(x[:1].expand(3, -1, -1, -1)), torch.zeros(3), atol=1e-5)
        assert (read(x) > 1e-4).all()


def test_tokens_of_a_vision_transformer_are_its_patches():
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12, image_size=8, patch_size=4,
        num_channels=1, num_labels=3,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        subject = Subject(transformers.ViTForImageClassification(config))
    x = drawn(3, 1, 8, 8)
    hidden = subject.run(x, record=["blocks.0.mlp.hidden"])["blocks.0.mlp.hidden"]
    with reader(subject, channel("blocks.0.mlp.hidden", 5), x) as read:
        assert torch.allclose(read(x), hidden[:, 1:, 5].mean(1), atol=1e-6)
    with reader(subject, channel("blocks.0.mlp.hidden", 5, place=(1, 0)), x) as read:
        assert torch.allclose(read(x), hidden[:, 3, 5], atol=1e-6)
    found = visualise(subject, 1, x, starts=1, steps=4, twin=None)
    assert found.images.shape == (1, 1, 8, 8)


def test_nothing_above_the_site_is_run_and_nothing_is_left_behind():
    class Refuses(nn.Module):
        def forward(self, x):
            raise RuntimeError("was run")

    subject = Subject(nn.Sequential(*list(cnn().module)[:3], Refuses()))
    hooks = lambda: [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in subject.module.modules()]  # noqa: E731
    before = hooks()
    found = visualise(subject, "2[0]", drawn(3, 2, 9, 7), starts=1, steps=2)
    assert found.curve.shape == (2, 1)
    with pytest.raises(RuntimeError, match="was run"):
        visualise(subject, 0, drawn(3, 2, 9, 7), starts=1, steps=2)
    with pytest.raises(SiteError, match="unit 9"):
        visualise(subject, "2[9]", drawn(3, 2, 9, 7), starts=1, steps=2)
    assert hooks() == before
    assert all(p.requires_grad and p.grad is None for p in subject.module.parameters())


def test_sound_is_made_too_and_a_planted_tone_is_found():
    time = torch.arange(64) / 64
    tone = torch.cos(2 * math.pi * 8 * time)
    net = nn.Sequential(nn.Conv1d(1, 2, 64, bias=False), nn.Flatten())
    net[0].weight.data = torch.stack([tone, -tone])[:, None] / 8
    shaken = Transforms(jitter=0.01, pad=0.0, scale=(0.98, 1.02))
    found = visualise(Subject(net), 0, 2 * drawn(20, 1, 64) - 1, starts=2, steps=80, lr=0.1, transforms=shaken)
    spectrum = torch.fft.rfft(found.images[:, 0]).abs().mean(0)
    assert int(spectrum[1:].argmax()) + 1 == 8
    assert found.finding().nulls[0].draws == 2


def test_pictures_of_a_twin_say_less_to_the_subject_and_the_finding_says_so():
    subject = cnn(3)
    found = visualise(subject, "2[0]", drawn(30, 2, 9, 7), starts=19, steps=30, lr=0.2)
    assert found.null is not None
    assert found.score.mean() > found.null.score.mean()
    assert (found.curve[-1] > found.curve[0]).all()
    assert (found.null.curve[-1] > found.null.curve[0]).all()
    told = found.finding()
    assert told.nulls[0].draws == 19
    assert Finding.from_json(told.to_json()) == told
    assert found.table.shape[0] == 19
    assert found.grid(5).shape == (4 * 10 + 1, 5 * 8 + 1, 2)
    with pytest.raises(UsageError, match="twin"):
        visualise(subject, "2[0]", drawn(30, 2, 9, 7), steps=1, twin=None).finding()


def test_files_are_the_same_again_and_damaged_ones_are_refused(tmp_path):
    from microtome.io import write_tensors

    found = visualise(cnn(), 0, drawn(5, 2, 9, 7), steps=2)
    found.save(tmp_path / "a")
    again = Visualisation.load(tmp_path / "a")
    assert torch.equal(again.images, found.images)
    assert again.null is not None
    assert found.null is not None
    assert torch.equal(again.null.score, found.null.score)
    assert again.null.subject == found.null.subject != found.subject == again.subject
    write_tensors(tmp_path / "b", {"images": found.images}, {"facts": '{"format": "microtome.visualisation"}'})
    with pytest.raises(FormatError, match="damaged"):
        Visualisation.load(tmp_path / "b")
    write_tensors(tmp_path / "c", {"images": found.images}, {})
    with pytest.raises(FormatError, match="not a microtome visualisation"):
        Visualisation.load(tmp_path / "c")


def test_a_start_that_is_given_is_where_the_climb_begins():
    x = drawn(6, 2, 9, 7)
    for picture in WAYS:
        found = visualise(cnn(), 0, x, starts=0.2 + 0.5 * x[:2], picture=picture, steps=1, lr=1e-6, twin=None)
        assert torch.allclose(found.images, 0.2 + 0.5 * x[:2], atol=1e-3)


def test_refusals_of_objectives_and_transforms():
    basis = Linear("2", torch.eye(4)[:, :2])
    with pytest.raises(UsageError, match="coordinate 2"):
        direction(basis, 2)
    with pytest.raises(UsageError, match="target"):
        as_objective(1.5)
    with pytest.raises(SiteError, match="place"):
        visualise(cnn(), channel("2", 0, place=(9, 9)), drawn(3, 2, 9, 7), steps=1)
    with pytest.raises(UsageError, match="two starts"):
        visualise(cnn(), diversity("2"), drawn(3, 2, 9, 7), starts=1, steps=1)
    with pytest.raises(UsageError, match="scale"):
        Transforms(scale=(1.2, 0.8))
    with pytest.raises(ShapeError, match="places"):
        visualise(Subject(nn.Linear(4, 2)), 0, drawn(3, 4), steps=1, transforms=None)
    rows = visualise(Subject(nn.Linear(4, 2)), 0, drawn(9, 4), picture="pixels", steps=3, transforms=None)
    assert rows.images.shape == (4, 4)
    assert isinstance(-class_logit(1), Objective)
    assert str(-class_logit(1)) == "-class 1"


@pytest.mark.parametrize("name", list(PENALTIES))
def test_penalties_by_hand(name):
    x, fill = drawn(2, 2, 3, 4), torch.tensor([0.25, 0.5])
    for picture, found in zip(x, PENALTIES[name](x, fill), strict=True):
        away = [float(picture[c, i, j] - fill[c]) for c in range(2) for i in range(3) for j in range(4)]
        down = [abs(float(picture[c, i + 1, j] - picture[c, i, j])) for c in range(2) for i in range(2) for j in range(4)]
        right = [abs(float(picture[c, i, j + 1] - picture[c, i, j])) for c in range(2) for i in range(3) for j in range(3)]
        slow = {"l1": np.mean(np.abs(away)), "l2": np.mean(np.square(away)), "total_variation": np.mean(down) + np.mean(right)}
        assert float(found) == pytest.approx(slow[name], rel=1e-5)
