"""Crafted checkpoints: every file tries to make a canary file when it is loaded. Nothing else is done by any of them."""

import io
import pickle
import struct
import zipfile
from collections.abc import Iterator

import numpy as np

# (module, name, arguments): each would create the canary
TARGETS = {
    "os.system": ("os", "system", lambda c: (f"touch {c}",)),
    "posix.system": ("posix", "system", lambda c: (f"touch {c}",)),
    "popen": ("os", "popen", lambda c: (f"touch {c}",)),
    "subprocess": ("subprocess", "check_output", lambda c: (["touch", c],)),
    "Popen": ("subprocess", "Popen", lambda c: (["touch", c],)),
    "eval": ("builtins", "eval", lambda c: (f"open({c!r}, 'w').close()",)),
    "exec": ("builtins", "exec", lambda c: (f"open({c!r}, 'w').close()",)),
    "open": ("builtins", "open", lambda c: (c, "w")),
    "io.open": ("io", "open", lambda c: (c, "w")),
    "mkdir": ("os", "mkdir", lambda c: (c,)),
    "pathlib": ("pathlib", "Path.touch", lambda c: (c,)),
    "runpy": ("runpy", "_run_code", lambda c: (f"open({c!r}, 'w').close()", {})),
    "timeit": ("timeit", "timeit", lambda c: (f"open({c!r}, 'w').close()", "pass")),
    "code": ("code", "interact", lambda c: (c,)),
    "pdb": ("pdb", "run", lambda c: (f"open({c!r}, 'w').close()",)),
    "torch.load": ("torch", "load", lambda c: (c,)),
    "torch.save": ("torch", "save", lambda c: ([1], c)),
    "torch jit": ("torch.jit", "load", lambda c: (c,)),
    "numpy": ("numpy", "save", lambda c: (c, 1)),
    "importlib": ("importlib", "import_module", lambda c: ("antigravity",)),
}


def _text(value: object) -> bytes:
    """Pickle opcodes that push a plain value."""
    return pickle.dumps(value, 2)[2:-1]


def _reduce(module: str, name: str, args: tuple) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode() + _text(args) + b"R"


def _stack_global(module: str, name: str, args: tuple) -> bytes:
    words = b"".join(b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    return words + b"\x93" + _text(args) + b"R"


def _instance(module: str, name: str, args: tuple) -> bytes:
    return b"(" + b"".join(map(_text, args)) + b"i" + f"{module}\n{name}\n".encode()


def _object(module: str, name: str, args: tuple) -> bytes:
    return b"(c" + f"{module}\n{name}\n".encode() + b"".join(map(_text, args)) + b"o"


def _newobj(module: str, name: str, args: tuple) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode() + _text(args) + b"\x81"


def _hidden(module: str, name: str, args: tuple) -> bytes:
    """Inside an ordinary state dict, after honest entries."""
    return (
        b"ccollections\nOrderedDict\n)R"
        + _text("weight")
        + _text(1.0)
        + b"s"
        + _text("x")
        + _reduce(module, name, args)
        + b"s"
    )


STYLES = {
    "reduce": _reduce,
    "global": _stack_global,
    "inst": _instance,
    "obj": _object,
    "new": _newobj,
    "dict": _hidden,
}


def _raw(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


def _zip(body: bytes) -> bytes:
    """The format of torch.save."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def _legacy(body: bytes) -> bytes:
    """The older format of torch.save: magic number, protocol, system, value, storage keys."""
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
    return magic + pickle.dumps({"little_endian": True}, 2) + b"\x80\x02" + body + b"." + pickle.dumps([], 2)


def _npz(body: bytes) -> bytes:
    """An .npz whose object array is the pickle."""
    buffer = io.BytesIO()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.npy", header.getvalue() + _raw(body))
    return buffer.getvalue()


def _magic(body: bytes) -> bytes:
    """A safetensors-like length in front."""
    return struct.pack("<Q", len(body)) + _raw(body)


CONTAINERS = {"pkl": _raw, "pt": _zip, "bin": _legacy, "npz": _npz, "safetensors": _magic}


def crafted(canary: str) -> Iterator[tuple[str, bytes]]:
    """At least 300 (name, content): 20 targets x 3 of 6 opcode styles x 5 containers, each style used."""
    for number, (target, (module, name, arguments)) in enumerate(TARGETS.items()):
        for offset in range(3):
            style = list(STYLES)[(number + 2 * offset + number // 6) % len(STYLES)]
            body = STYLES[style](module, name, arguments(canary))
            for suffix, wrap in CONTAINERS.items():
                yield f"{target}-{style}.{suffix}".replace(" ", "_"), wrap(body)
