"""One valid sample per format, and a seeded mutator that damages it."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from microtome import io as mio

READERS: dict[str, Callable] = {
    "safetensors": mio.read_tensors,
    "json": mio.read_json,
    "jsonl": mio.read_jsonl,
    "npz": mio.read_npz,
    "parquet": mio.read_table,
    "csv": mio.read_table,
    "pt": mio.read_torch,
}


def samples(folder: Path) -> dict[str, bytes]:
    """A valid file of each format, as bytes; every reader reads its own."""
    tensors = {"weight": torch.arange(60.0).reshape(12, 5), "bias": torch.ones(7, dtype=torch.float16)}
    table = pd.DataFrame({"n": range(40), "x": np.linspace(0, 1, 40), "word": [f"w{i}" for i in range(40)]})
    mio.write_tensors(folder / "a.safetensors", tensors, {"made": "by a test"})
    mio.write_json(
        folder / "a.json", {"weight_map": {f"t{i}": f"model-{i}.safetensors" for i in range(9)}, "n": [1, 2.5]}
    )
    mio.append_jsonl(folder / "a.jsonl", [{"n": i, "text": "é" * i} for i in range(9)])
    mio.write_npz(folder / "a.npz", {"images": np.arange(300).reshape(3, 10, 10), "labels": np.array(["a", "b"])})
    mio.write_table(folder / "a.parquet", table)
    table.to_csv(folder / "a.csv", index=False)
    torch.save(tensors, folder / "a.pt")
    for suffix, reader in READERS.items():
        reader(folder / f"a.{suffix}")
    return {suffix: (folder / f"a.{suffix}").read_bytes() for suffix in READERS}


def mutate(data: bytes, random: np.random.Generator) -> bytes:
    """One of nine kinds of damage."""
    out = bytearray(data)
    kind, place = int(random.integers(9)), int(random.integers(len(data)))
    if kind <= 1:  # flip 1..8 bits
        for at in random.integers(len(out), size=int(random.integers(1, 9))):
            out[at] ^= 1 << int(random.integers(8))
    elif kind == 2:  # cut short
        del out[place:]
    elif kind == 3:  # a lying length in the first or last bytes
        at = int(random.choice([0, max(0, len(out) - 8), max(0, len(out) - 22)]))
        out[at : at + 8] = struct.pack("<Q", int(random.choice([2**63, 2**40, 2**32 - 1, 0, 10**12])))
    elif kind == 4:  # a block of noise
        out[place : place + 40] = random.integers(256, size=40, dtype=np.uint8).tobytes()
    elif kind == 5:  # a part twice
        out[place:place] = out[place : place + int(random.integers(1, 400))]
    elif kind == 6:  # a part lost
        del out[place : place + int(random.integers(1, 60))]
    elif kind == 7:  # every digit run may become a huge number
        digits = [at for at in range(len(out)) if 48 <= out[at] <= 57]
        if digits:
            at = digits[int(random.integers(len(digits)))]
            out[at : at + 1] = b"1000000000000"
    else:  # rubbish after the end
        out += random.integers(256, size=int(random.integers(1, 200)), dtype=np.uint8).tobytes()
    return bytes(out)


def mutants(folder: Path, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` damaged files over all formats: (suffix, content)."""
    valid = samples(folder)
    random = np.random.default_rng(seed)
    for number in range(count):
        suffix = list(valid)[number % len(valid)]
        yield suffix, mutate(valid[suffix], random)


def _safetensors(header: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + body


def _entry(shape: list, offsets: list, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def _npz(header: dict, body: bytes = b"", name: str = "a.npy", method: int = zipfile.ZIP_STORED) -> bytes:
    buffer, member = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(member, header)
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, member.getvalue() + body)
    return buffer.getvalue()


def _bomb() -> bytes:
    """About 100 kB that unpack to 100 MB."""
    buffer, member = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (100 << 20,)})
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        file.write(member.getvalue())
        for _ in range(100):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


def _lying_zip() -> bytes:
    """The directory claims four times what the member holds."""
    data = bytearray(_npz({"descr": "<f8", "fortran_order": False, "shape": (4,)}, bytes(32)))
    at = data.rfind(b"PK\x01\x02") + 24
    size = struct.unpack("<I", data[at : at + 4])[0]
    data[at : at + 4] = struct.pack("<I", size * 4)
    return bytes(data)


def _many_rows() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": pa.array(np.zeros(9_000_000, dtype=np.int64))}), buffer, compression="zstd")
    return buffer.getvalue()


def specials() -> Iterator[tuple[str, str, bytes]]:
    """Files built to hurt: (what, suffix, content); every one must be refused."""
    ok = json.dumps({"a": _entry([1], [0, 4])}).encode()
    yield "header of 2^63 bytes", "safetensors", _safetensors(ok, bytes(4), 2**63)
    yield "header longer than the file", "safetensors", _safetensors(ok, bytes(4), len(ok) + 5)
    yield "empty", "safetensors", b""
    yield "seven bytes", "safetensors", bytes(7)
    yield "header of zeros", "safetensors", _safetensors(bytes(100))
    yield "shape 10^12", "safetensors", _safetensors(json.dumps({"a": _entry([10**12], [0, 4])}).encode(), bytes(4))
    yield (
        "shape overflow",
        "safetensors",
        _safetensors(json.dumps({"a": _entry([2**40, 2**40], [0, 4])}).encode(), bytes(4)),
    )
    yield (
        "overlap",
        "safetensors",
        _safetensors(json.dumps({"a": _entry([1], [0, 4]), "b": _entry([1], [0, 4])}).encode(), bytes(8)),
    )
    yield "hole", "safetensors", _safetensors(json.dumps({"a": _entry([1], [4, 8])}).encode(), bytes(8))
    yield "bytes left over", "safetensors", _safetensors(ok, bytes(8))
    yield "negative offset", "safetensors", _safetensors(json.dumps({"a": _entry([1], [-4, 0])}).encode(), bytes(4))
    yield (
        "name twice",
        "safetensors",
        _safetensors(b'{"a":%s,"a":%s}' % ((json.dumps(_entry([1], [0, 4])).encode(),) * 2), bytes(4)),
    )
    yield "metadata twice", "safetensors", _safetensors(b'{"__metadata__":{"k":"1","k":"2"},' + ok[1:], bytes(4))
    yield "metadata not text", "safetensors", _safetensors(b'{"__metadata__":{"k":1},' + ok[1:], bytes(4))
    yield "deep header", "safetensors", _safetensors(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    yield (
        "unknown dtype",
        "safetensors",
        _safetensors(json.dumps({"a": _entry([1], [0, 4], "PICKLE")}).encode(), bytes(4)),
    )
    yield "not JSON", "safetensors", _safetensors(b"{]")
    yield "a list", "safetensors", _safetensors(b"[]")
    yield "depth 10^5", "json", b"[" * 100_000 + b"]" * 100_000
    yield "depth 10^5 of objects", "json", b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield "depth 65", "json", b"[" * 66 + b"]" * 66
    yield "depth unclosed", "json", b"[" * 1_000_000
    yield "NaN", "json", b'{"a": NaN}'
    yield "Infinity", "json", b"[Infinity, -Infinity]"
    yield "1e999", "json", b"[1e999]"
    yield "key twice", "json", b'{"a": 1, "b": 2, "a": 3}'
    yield "5000 digits", "json", b"9" * 5000
    yield "latin-1", "json", '"é"'.encode("latin-1")
    yield "half a surrogate", "json", b'["\\ud800"]'
    yield "empty", "json", b""
    yield "trailing comma", "json", b"[1,]"
    yield "comment", "json", b"// x\n{}"
    yield "two values", "json", b"{} {}"
    yield "many small lists", "json", b"[" + b"[]," * 4_000_000 + b"[]]"
    yield "bad line", "jsonl", b'{"a":1}\n{"a":\n'
    yield "NaN line", "jsonl", b'{"a":NaN}\n'
    yield "torn line", "jsonl", b'{"a":1}\n{"a":2'
    yield "shape 10^12", "npz", _npz({"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    yield "shape overflow", "npz", _npz({"descr": "<f8", "fortran_order": False, "shape": (2**33, 2**33)})
    yield "negative shape", "npz", _npz({"descr": "<f8", "fortran_order": False, "shape": (-1,)}, bytes(8))
    yield "objects", "npz", _npz({"descr": "|O", "fortran_order": False, "shape": (1,)}, b"\x80\x04N.")
    yield (
        "objects in a record",
        "npz",
        _npz({"descr": [("a", "|O")], "fortran_order": False, "shape": (1,)}, b"\x80\x04N."),
    )
    yield "shape too small", "npz", _npz({"descr": "<f8", "fortran_order": False, "shape": (1,)}, bytes(16))
    yield "no array", "npz", _npz({"descr": "<f8", "fortran_order": False, "shape": (1,)}, bytes(8), name="a.pkl")
    yield (
        "bzip2",
        "npz",
        _npz({"descr": "<f8", "fortran_order": False, "shape": (1,)}, bytes(8), method=zipfile.ZIP_BZIP2),
    )
    yield "100 MB of zeros", "npz", _bomb()
    yield "lying directory", "npz", _lying_zip()
    yield "72 MB of zeros", "parquet", _many_rows()
    yield "not parquet", "parquet", b"PAR1" + bytes(100) + b"PAR1"
    yield "empty", "csv", b""
    yield "ragged", "csv", b"a,b\n1,2\n1,2,3,4\n"
    yield "latin-1", "csv", "a,b\né,1\n".encode("latin-1")
    yield "open quote", "csv", b'a,b\n"1,2\n'
    yield "empty", "pt", b""
    yield "text", "pt", b"hello"
