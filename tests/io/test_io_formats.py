# ruff: noqa: E501  (tables of payloads)
"""What is written is read back, and equal values give equal bytes."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from microtome import io as mio
from microtome.errors import FormatError, ShapeError, UsageError

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tensors_round_trip(tmp_path, dtype):
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "a": (torch.randn(7, 5, generator=generator) * 3).to(dtype),
        "empty": torch.zeros(0, 4, dtype=dtype),
        "scalar": torch.ones((), dtype=dtype),
        "strided": (torch.randn(6, 8, generator=generator) * 3).to(dtype).T[::2],
    }
    mio.write_tensors(tmp_path / "a.safetensors", tensors)
    found = mio.read_tensors(tmp_path / "a.safetensors")
    assert list(found) == sorted(tensors)
    peer = safetensors.torch.load_file(tmp_path / "a.safetensors")
    for name, tensor in tensors.items():
        assert found[name].dtype == dtype
        assert torch.equal(found[name], tensor)
        assert torch.equal(peer[name], tensor)


def test_tensor_bytes_do_not_depend_on_order_or_strides(tmp_path):
    a, b = torch.arange(12.0).reshape(3, 4), torch.ones(2)
    notes = {f"note {i}": str(i) for i in range(20)}
    one = mio.write_tensors(tmp_path / "1", {"a": a, "b": b}, {"x": "1", "a": "2", **notes})
    two = mio.write_tensors(tmp_path / "2", {"b": b.clone(), "a": a.T.contiguous().T}, {**notes, "a": "2", "x": "1"})
    assert one == two
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_tensors_that_share_memory(tmp_path):
    base = torch.arange(10.0)
    mio.write_tensors(
        tmp_path / "a", {"whole": base, "same": base, "part": base[2:5], "grad": torch.ones(2, requires_grad=True)}
    )
    found = mio.read_tensors(tmp_path / "a")
    assert torch.equal(found["whole"], found["same"])
    assert found["part"].tolist() == [2, 3, 4]
    found["whole"][0] = 9  # own memory, writable
    assert mio.read_tensors(tmp_path / "a")["whole"][0] == 0


def test_slices(tmp_path):
    tensors = {"a": torch.arange(40).reshape(10, 4), "none": torch.zeros(0, 3), "scalar": torch.tensor(3)}
    mio.write_tensors(tmp_path / "a", tensors, {"made": "here"})
    with mio.open_tensors(tmp_path / "a") as file:
        for start in range(11):
            for stop in range(start, 11):
                assert torch.equal(file.slice("a", start, stop), tensors["a"][start:stop])
        assert file.slice("none", 0, 0).shape == (0, 3)
        assert file.keys() == ["a", "none", "scalar"]
        assert file.metadata == {"made": "here"}
        assert "a" in file
        assert len(file) == 3
        kept = file.get("a")
        for bad in ((-1, 2), (3, 11), (4, 3)):
            with pytest.raises(ShapeError, match=r"Stay inside"):
                file.slice("a", *bad)
        with pytest.raises(ShapeError):
            file.slice("scalar", 0, 1)
        with pytest.raises(FormatError, match="Did you mean 'scalar'"):
            file.get("scala")
    assert torch.equal(kept, tensors["a"])
    with pytest.raises(UsageError, match="closed"):
        file.get("a")


@pytest.mark.parametrize(
    "bad", [{"a": np.ones(2)}, {"a": torch.eye(2).to_sparse()}, {"a": torch.ones(2, device="meta")}]
)
def test_what_is_not_a_dense_tensor(tmp_path, bad):
    with pytest.raises(UsageError, match="dense"):
        mio.write_tensors(tmp_path / "a", bad)
    assert not (tmp_path / "a").exists()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None, max_examples=150)
@given(JSON)
def test_json_round_trip(value):
    assert mio.parse_json(mio.dump_json(value)) == value
    assert mio.dump_json(mio.parse_json(mio.dump_json(value))) == mio.dump_json(value)


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet='{}[],:"0123456789.eE+-truefalsn\\u \t', max_size=40))
def test_json_is_as_strict_as_python_or_stricter(text):
    try:
        found = mio.parse_json(text.encode())
    except FormatError:
        return
    assert found == json.loads(text)


@pytest.mark.parametrize(
    "bad", [float("nan"), {1: 2}, {"a": {None: 1}}, [{("x",): 1}], {1, 2}, b"x", object(), "\ud800"]
)
def test_json_that_cannot_be_written(tmp_path, bad):
    with pytest.raises(UsageError):
        mio.write_json(tmp_path / "a.json", bad)
    assert not (tmp_path / "a.json").exists()
    loop: list = []
    loop.append(loop)
    with pytest.raises(UsageError):
        mio.dump_json(loop)


def test_json_files(tmp_path):
    value = {"b": np.float32(1.5), "a": [np.int64(3), (1, 2)], "é": "日"}
    one, two = mio.write_json(tmp_path / "1", value), mio.write_json(tmp_path / "2", dict(reversed(value.items())))
    assert one == two
    assert mio.read_json(tmp_path / "1") == {"b": 1.5, "a": [3, [1, 2]], "é": "日"}
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbf{}")
    assert mio.read_json(tmp_path / "bom") == {}


def test_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    mio.append_jsonl(path, {"a": 1})
    mio.append_jsonl(path, ({"a": n} for n in (2, 3)))
    assert mio.read_jsonl(path) == [{"a": 1}, {"a": 2}, {"a": 3}]
    path.write_text('{"a":1}\n\n{"a":2}')  # a person's file without the last line end loses nothing
    mio.append_jsonl(path, {"a": 3})
    assert [row["a"] for row in mio.iter_jsonl(path)] == [1, 2, 3]
    path.write_text('{"a":1}\n{"a":')  # a killed writer's does
    mio.append_jsonl(path, {"a": 2})
    assert mio.read_jsonl(path) == [{"a": 1}, {"a": 2}]
    with pytest.raises(UsageError, match="dict"):
        mio.append_jsonl(path, [3])


@pytest.mark.parametrize("suffix", ["parquet", "csv", "tsv", "jsonl"])
def test_tables(tmp_path, suffix):
    table = pd.DataFrame({"n": [1, 2, 3], "x": [0.5, 1.5, -2.0], "word": ["a", "é", "c,d"]})
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        mio.write_table(path, table)
    elif suffix == "jsonl":
        mio.append_jsonl(path, table.to_dict("records"))
    else:
        table.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    pd.testing.assert_frame_equal(mio.read_table(path), table, check_like=suffix == "jsonl")


def test_table_bytes(tmp_path):
    table = pd.DataFrame({"a": range(1000), "b": ["x", "y"] * 500}, index=pd.RangeIndex(3, 1003, name="row"))
    assert mio.write_table(tmp_path / "1.parquet", table) == mio.write_table(tmp_path / "2.parquet", table.copy())
    pd.testing.assert_frame_equal(mio.read_table(tmp_path / "1.parquet"), table)
    for bad in (pd.DataFrame({1: [1]}), pd.DataFrame({"a": [1, "x", object()]})):
        with pytest.raises(UsageError):
            mio.write_table(tmp_path / "3.parquet", bad)
    with pytest.raises(UsageError, match="Parquet"):
        mio.write_table(tmp_path / "3.csv", table)


def test_arrays(tmp_path):
    arrays = {
        "f": np.asfortranarray(np.arange(12.0).reshape(3, 4)), "s": np.array(["a", "bé"]), "b": np.array([True, False]),
        "zero": np.zeros((0, 3)), "scalar": np.array(3), "zeros": np.zeros((1000, 1000)), "big": np.arange(4, dtype=">i4"),
    }  # fmt: skip
    assert mio.write_npz(tmp_path / "1.npz", arrays) == mio.write_npz(
        tmp_path / "2.npz", dict(reversed(arrays.items()))
    )
    found, peer = mio.read_npz(tmp_path / "1.npz"), np.load(tmp_path / "1.npz")
    for name, array in arrays.items():
        for other in (found[name], peer[name]):
            assert other.dtype == array.dtype
            assert other.shape == array.shape
            assert (other == array).all()
    found["f"][0, 0] = 5  # writable
    with pytest.raises(UsageError, match="objects"):
        mio.write_npz(tmp_path / "3.npz", {"a": np.array([None])})


def test_hash_of_tensors():
    a = torch.arange(6.0).reshape(2, 3)
    base = mio.hash_tensors({"a": a})
    different = [{"b": a}, {"a": a.reshape(3, 2)}, {"a": a.double()}, {"a": a + 1e-6}, {"a": a, "b": a}, {}, {"a": -a}]
    hashes = [mio.hash_tensors(tensors) for tensors in different]
    assert len({base, *hashes}) == len(different) + 1
    assert mio.hash_tensors({"a": a.clone().requires_grad_()}) == base
    assert mio.hash_tensors({"a": torch.ones(2, dtype=torch.bfloat16), "s": torch.tensor(1), "e": torch.ones(0)})
    assert mio.hash_tensors({"x": a[:, :1].expand(2, 3)}) == mio.hash_tensors({"x": a[:, :1].expand(2, 3).clone()})


def test_text(tmp_path):
    mio.write_text(tmp_path / "a", "é\r\nb\n")
    assert mio.read_text(tmp_path / "a") == "é\r\nb\n"
    (tmp_path / "b").write_bytes(b"ok\xff")
    with pytest.raises(FormatError, match="byte 2 is 0xff"):
        mio.read_text(tmp_path / "b")
    with pytest.raises(FormatError, match="max_bytes"):
        mio.read_text(tmp_path / "a", max_bytes=2)


def test_the_import_is_light():
    code = "import sys, microtome.io, microtome.engine; print([m for m in ('pandas','pyarrow','transformers','sklearn','rich') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_public_assets(assets):
    for path in sorted(assets.rglob("*")):
        readers = {
            ".json": mio.read_json,
            ".safetensors": mio.read_tensors,
            ".npz": mio.read_npz,
            ".jsonl": mio.read_jsonl,
            ".csv": mio.read_table,
        }
        if path.suffix in readers and path.stat().st_size < 20 << 20:
            lines = path.suffix == ".json" and path.read_bytes().count(b"\n{") > 1  # some .json files are JSON lines
            if lines:
                with pytest.raises(FormatError, match="use read_jsonl"):
                    mio.read_json(path)
            assert len((mio.read_jsonl if lines else readers[path.suffix])(path)) > 0
