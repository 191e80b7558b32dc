"""Gates of recurrent layers: unrolled recurrence against torch's kernels, cells and a hand-written oracle."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from microtome.errors import ShapeError, UsageError
from microtome.subject.recurrent import GATES, gate_names, gates

KINDS = {
    "lstm": (nn.LSTM, {}),
    "projected": (nn.LSTM, {"proj_size": 3}),
    "gru": (nn.GRU, {}),
    "tanh": (nn.RNN, {}),
    "relu": (nn.RNN, {"nonlinearity": "relu"}),
}
close = {"atol": 1e-6, "rtol": 1e-6}


def build(kind, seed=0, **options):
    cls, extra = KINDS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return cls(4, 6, **{**options, **extra}).eval()


def noise(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_output_and_state_are_those_of_torch(kind, batch_first, bidirectional, bias):
    module = build(kind, num_layers=3, batch_first=batch_first, bidirectional=bidirectional, bias=bias, dropout=0.5)
    x = noise(2, 7, 4)
    with torch.no_grad():
        expected, state = module(x)
        output, last, values = gates(module, x)
    torch.testing.assert_close(output, expected, **close)
    pairs = zip(last, state, strict=True) if isinstance(state, tuple) else [(last, state)]
    for mine, theirs in pairs:
        torch.testing.assert_close(mine, theirs, **close)
    assert list(values) == gate_names(module)
    n, length = (2, 7) if batch_first else (7, 2)
    assert all(v.shape[:2] == (n, length) for v in values.values())


@settings(deadline=None, max_examples=25)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    layers=st.integers(1, 3),
    both=st.booleans(),
    n=st.integers(1, 3),
    length=st.integers(1, 6),
    seed=st.integers(0, 9),
)
def test_continuing_from_a_state_is_one_long_run(kind, layers, both, n, length, seed):
    module = build(kind, seed, num_layers=layers, batch_first=True, bidirectional=both)
    x = noise(n, length, 4, seed=seed)
    with torch.no_grad():
        _, states, _ = gates(module, noise(n, 2, 4, seed=seed + 1))
        output, last, _ = gates(module, x, states)
        expected, final = module(x, states)
    torch.testing.assert_close(output, expected, **close)
    for mine, theirs in zip(last, final) if isinstance(final, tuple) else [(last, final)]:
        torch.testing.assert_close(mine, theirs, **close)


def test_lstm_gates_by_hand():
    module = build("lstm", batch_first=True)
    x = noise(1, 5, 4)
    with torch.no_grad():
        _, _, values = gates(module, x)
    h, c = torch.zeros(6), torch.zeros(6)
    for t in range(5):
        total = module.weight_ih_l0 @ x[0, t] + module.bias_ih_l0 + module.weight_hh_l0 @ h + module.bias_hh_l0
        i, f, g, o = total[:6].sigmoid(), total[6:12].sigmoid(), total[12:18].tanh(), total[18:].sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
        for name, value in {"i": i, "f": f, "g": g, "o": o, "cell": c, "hidden": h}.items():
            torch.testing.assert_close(values[f"l0.{name}"][0, t], value.detach(), **close)


def test_gru_gates_obey_their_equations_in_both_directions():
    module = build("gru", bidirectional=True, batch_first=True)
    x = noise(3, 6, 4)
    with torch.no_grad():
        output, _, v = gates(module, x)
    for prefix, step in (("l0", 1), ("l0.reverse", -1)):
        hidden = v[f"{prefix}.hidden"]
        before = torch.roll(hidden, step, dims=1)
        before[:, 0 if step == 1 else -1] = 0
        z, n = v[f"{prefix}.z"], v[f"{prefix}.n"]
        torch.testing.assert_close((1 - z) * n + z * before, hidden, **close)
    torch.testing.assert_close(torch.cat([v["l0.hidden"], v["l0.reverse.hidden"]], -1), output, **close)


def test_single_steps_are_those_of_the_cell_classes():
    module, cell = build("gru", batch_first=True), nn.GRUCell(4, 6)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in module.state_dict().items()})
    x, h = noise(2, 4, 4), torch.zeros(2, 6)
    with torch.no_grad():
        output, _, _ = gates(module, x)
        for t in range(4):
            h = cell(x[:, t], h)
            torch.testing.assert_close(output[:, t], h, **close)


@pytest.mark.parametrize("kind", KINDS)
def test_edits_are_called_once_per_gate_and_step(kind):
    module = build(kind, num_layers=2, bidirectional=True, batch_first=True)
    calls = []

    def look(name, value, t):
        calls.append((name, t))
        return value.clone()

    x = noise(2, 5, 4)
    with torch.no_grad():
        same, _, _ = gates(module, x, edit=look)
        plain, _, _ = gates(module, x)
    assert torch.equal(same, plain)
    assert sorted(calls) == sorted(itertools.product(gate_names(module), range(5)))
    backwards = [t for name, t in calls if name == "l0.reverse.hidden"]
    assert backwards == [4, 3, 2, 1, 0]


def test_zeroed_memory_hides_the_past():
    module = build("lstm", batch_first=True)
    x, other = noise(2, 6, 4), noise(2, 6, 4, seed=5)
    other[:, 3:] = x[:, 3:]

    def forget(name, value, t):
        # Past steps reach later ones through the cell and the hidden state only.
        if t == 2 and name in ("l0.cell", "l0.hidden"):
            return torch.zeros_like(value)
        return value

    with torch.no_grad():
        one, _, values = gates(module, x, edit=forget)
        two, _, _ = gates(module, other, edit=forget)
    assert torch.equal(one[:, 3:], two[:, 3:])
    assert not torch.equal(gates(module, x)[0][:, 3:], gates(module, other)[0][:, 3:])
    assert not values["l0.hidden"][:, 2].any()


def test_an_edit_of_one_gate_changes_only_what_comes_after():
    module = build("lstm", num_layers=2, batch_first=True)
    x = noise(2, 6, 4)
    with torch.no_grad():
        _, _, plain = gates(module, x)
        _, _, new = gates(module, x, edit=lambda n, v, t: v + 0.5 if (n, t) == ("l0.g", 3) else v)
    for name in plain:
        assert torch.equal(plain[name][:, :3], new[name][:, :3])
    assert torch.equal(plain["l0.f"][:, 3], new["l0.f"][:, 3])
    torch.testing.assert_close(new["l0.g"][:, 3], plain["l0.g"][:, 3] + 0.5)
    assert not torch.equal(plain["l1.hidden"][:, 5], new["l1.hidden"][:, 5])


def test_gradients_flow_as_in_torch():
    module = build("lstm", num_layers=2, batch_first=True)
    x = noise(2, 5, 4).requires_grad_()
    one = torch.autograd.grad(gates(module, x)[0].square().sum(), x)[0]
    two = torch.autograd.grad(module(x)[0].square().sum(), x)[0]
    torch.testing.assert_close(one, two, **close)


@pytest.mark.parametrize("batch_first", [True, False])
def test_without_a_batch_axis(batch_first):
    module = build("lstm", batch_first=batch_first, bidirectional=True)
    x = noise(5, 4)
    with torch.no_grad():
        expected, (h, c) = module(x)
        output, (mine, cell), values = gates(module, x)
        again, _, _ = gates(module, x, (h, c))
        torch.testing.assert_close(again, module(x, (h, c))[0], **close)
    torch.testing.assert_close(output, expected, **close)
    torch.testing.assert_close(mine, h, **close)
    torch.testing.assert_close(cell, c, **close)
    assert values["l0.i"].shape == (1, 5, 6)


def test_names_cover_all_gates():
    assert gate_names(build("lstm")) == [f"l0.{g}" for g in GATES["LSTM"]]
    assert gate_names(build("tanh", num_layers=2, bidirectional=True)) == [
        *("l0.hidden", "l0.reverse.hidden", "l1.hidden", "l1.reverse.hidden")
    ]


def test_refusals():
    module = build("lstm", num_layers=2, dropout=0.3, batch_first=True)
    with pytest.raises(UsageError, match="LSTM"):
        gates(nn.Linear(4, 4), noise(1, 2, 4))
    with pytest.raises(ShapeError, match="4 features"):
        gates(module, noise(1, 2, 5))
    with pytest.raises(ShapeError, match="got"):
        gates(module, noise(1, 0, 4))
    with pytest.raises(ShapeError, match="state"):
        gates(module, noise(1, 2, 4), (torch.zeros(1, 1, 6), torch.zeros(1, 1, 6)))
    with pytest.raises(ShapeError, match=r"l0\.i.*step 0"):
        gates(module, noise(1, 2, 4), edit=lambda n, v, t: v[..., :2])
    with pytest.raises(UsageError, match="Pad"):
        gates(module, nn.utils.rnn.pack_sequence([noise(2, 4)]))
    with pytest.raises(UsageError, match="eval"):
        gates(module.train(), noise(1, 2, 4))
