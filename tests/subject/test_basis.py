"""Bases: exact identities, edits that keep the unexplained part, files, refusals."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome.errors import FormatError, IntegrityError, ShapeError, SubjectMismatch, UsageError
from microtome.subject.basis import Basis, Identity, Linear, Unit, edit_through, load_basis, require_same


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def bits(x):
    return x.contiguous().view(torch.int32)


def bases():
    square = torch.linalg.qr(draw(6, 6, seed=1)).Q
    return [Identity("s", 6), Linear("s", draw(6, 3)), Linear("s", square, square.T, draw(6, seed=2), name="pca")]


@pytest.mark.parametrize("basis", bases(), ids=lambda b: f"{b.kind}-{b.dim}")
def test_every_basis_keeps_the_protocol(basis):
    assert isinstance(basis, Basis)
    assert basis.encode(draw(2, 5, 6)).shape == (2, 5, basis.dim)
    assert basis.directions.shape == (basis.dim, 6)


@pytest.mark.parametrize("basis", bases(), ids=lambda b: f"{b.kind}-{b.dim}")
def test_an_edit_of_nothing_returns_every_bit(basis):
    x = draw(4, 7, 6)
    x[0, 0, 0], x[0, 0, 1], x[0, 0, 2] = -0.0, 1e-42, 3e38
    assert torch.equal(bits(edit_through(basis, x, basis.encode(x))), bits(x))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_an_edit_moves_the_coordinates_and_nothing_else(rows, dim, seed):
    basis = Linear("s", draw(6, dim, seed=seed, dtype=torch.float64))
    x, wanted = draw(rows, 6, seed=seed + 1, dtype=torch.float64), draw(rows, dim, seed=seed + 2, dtype=torch.float64)
    edited = edit_through(basis, x, wanted)
    torch.testing.assert_close(basis.encode(edited), wanted, rtol=1e-7, atol=1e-7)
    inside = lambda t: basis.decode(basis.encode(t))  # noqa: E731
    torch.testing.assert_close(edited - inside(edited), x - inside(x), rtol=1e-7, atol=1e-7)


def test_edited_rows_leave_the_other_rows_bit_equal():
    basis, x = bases()[2], draw(9, 6)
    z = basis.encode(x)
    z[3, 1] += 1.0
    edited = edit_through(basis, x, z)
    kept = [i for i in range(9) if i != 3]
    assert torch.equal(bits(edited[kept]), bits(x[kept]))
    assert not torch.equal(edited[3], x[3])


def test_neurons_are_written_as_they_are():
    x, new = draw(3, 6), draw(3, 6, seed=4) * 1e-7
    assert torch.equal(edit_through(Identity("s", 6), x, new), new)


def test_default_decoder_is_the_pseudo_inverse():
    basis = Linear("s", draw(6, 3, dtype=torch.float64))
    projector = basis.encoder @ basis.decoder
    torch.testing.assert_close(projector @ projector, projector, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(projector, projector.T, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_input_decides_the_precision(dtype):
    assert bases()[1].encode(draw(2, 6).to(dtype)).dtype == dtype


def test_units_print_and_parse():
    assert str(Identity("blocks.3.mlp.hidden", 600).unit(584)) == "blocks.3.mlp.hidden[584]"
    assert str(bases()[2].unit(1)) == "s/pca[1]"
    for unit in (Unit("a.b", "", 3), Unit("layer2.1.conv1", "topk_sae", 0)):
        assert Unit.parse(str(unit)) == unit
    for text in ("", "a", "a[b]", "a[-1]", "a/b/c[1]", "a[1]x"):
        with pytest.raises(UsageError, match="prints as"):
            Unit.parse(text)
    with pytest.raises(UsageError, match=r"0\.\.5"):
        Identity("s", 6).unit(6)


@pytest.mark.parametrize("basis", bases(), ids=lambda b: f"{b.kind}-{b.dim}")
def test_save_and_load(basis, tmp_path):
    basis.subject, basis.metrics = "abc", {"fvu": 0.25}
    basis.save(tmp_path / "b")
    back = load_basis(tmp_path / "b")
    assert type(back) is type(basis)
    assert (back.fingerprint, back.subject, back.metrics) == (basis.fingerprint, "abc", {"fvu": 0.25})
    assert (back.site, back.name, back.names) == (basis.site, basis.name, basis.names)
    x = draw(3, 6, seed=8)
    assert torch.equal(back.encode(x), basis.encode(x))
    first = (tmp_path / "b" / "basis.json").read_bytes()
    basis.save(tmp_path / "again")
    assert (tmp_path / "again" / "basis.json").read_bytes() == first


def test_fingerprint_sees_site_kind_and_values():
    a = Linear("s", draw(6, 3))
    others = [Linear("t", draw(6, 3)), Linear("s", draw(6, 3, seed=1)), Identity("s", 6), Identity("s", 7)]
    assert len({a.fingerprint, *(b.fingerprint for b in others)}) == 5
    assert a.fingerprint == Linear("s", draw(6, 3)).fingerprint


def test_wrong_shapes_are_refused():
    basis = bases()[1]
    with pytest.raises(ShapeError, match=r"\[\.\.\., 6\]"):
        basis.encode(draw(2, 5))
    with pytest.raises(ShapeError, match=r"\[\.\.\., 3\]"):
        basis.decode(draw(2, 6))
    with pytest.raises(ShapeError, match="float"):
        basis.encode(torch.ones(2, 6, dtype=torch.long))
    with pytest.raises(ShapeError, match="decoder"):
        Linear("s", draw(6, 3), draw(6, 3))
    with pytest.raises(ShapeError, match="names"):
        Identity("s", 3, names=["a"])
    with pytest.raises(ShapeError, match="new coordinates"):
        edit_through(basis, draw(2, 6), draw(1, 3))


def test_another_site_or_subject_is_refused():
    basis = Linear("s", draw(6, 3), subject="aaa")
    require_same(basis, site="s", subject="aaa")
    require_same(Linear("s", draw(6, 3)), site="s", subject="bbb")
    with pytest.raises(SubjectMismatch, match="site 's'"):
        require_same(basis, site="t")
    with pytest.raises(SubjectMismatch, match="aaa"):
        require_same(basis, site="s", subject="bbb")


def damaged(folder, **changes):
    path = folder / "basis.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_damaged_folders_are_named(tmp_path):
    folder = tmp_path / "b"
    with pytest.raises(Exception, match=r"basis\.json"):
        load_basis(folder)
    Linear("s", draw(6, 3)).save(folder)
    damaged(folder, kind="lineal")
    with pytest.raises(FormatError, match="Did you mean 'linear'"):
        load_basis(folder)
    damaged(folder, kind=["linear"])
    with pytest.raises(FormatError, match="Known"):
        load_basis(folder)
    damaged(folder, kind="identity")
    with pytest.raises(FormatError, match="complete"):
        load_basis(folder)
    damaged(folder, kind="linear", names=["a"])
    with pytest.raises(FormatError, match="names"):
        load_basis(folder)
    damaged(folder, names=None, metrics=[1])
    with pytest.raises(FormatError, match="complete"):
        load_basis(folder)


def test_one_flipped_bit_is_found(tmp_path):
    Linear("s", draw(6, 3)).save(tmp_path / "b")
    path = tmp_path / "b" / "basis.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="hash"):
        load_basis(tmp_path / "b")
