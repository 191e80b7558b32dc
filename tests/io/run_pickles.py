"""Run by test_io_pickles in a process of its own (audit hooks cannot be removed): load every crafted file, report."""

import contextlib
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from io_pickles import crafted

from microtome import io as mio
from microtome.errors import FormatError

READERS = (mio.read_torch, mio.read_npz, mio.read_tensors, mio.read_json, mio.read_table)
WATCHED = {
    "pickle.find_class",
    "exec",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "os.mkdir",
}


def main() -> dict:
    watching, events, wrong = False, [], []

    def hook(event: str, args: tuple) -> None:
        if watching and (
            event in WATCHED or (event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"))
        ):
            events.append([event, repr(args)[:200]])

    folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
    # honest files first, so that lazy imports are over before the watch begins
    torch.save({"a": torch.ones(2)}, folder / "a.pt")
    mio.read_torch(folder / "a.pt")
    np.savez(folder / "a.npz", a=np.ones(2))
    mio.read_npz(folder / "a.npz")
    mio.write_tensors(folder / "a.safetensors", {"a": torch.ones(2)})
    mio.read_tensors(folder / "a.safetensors")
    (folder / "a.csv").write_text("a,b\n1,2\n")
    mio.read_table(folder / "a.csv")
    (folder / "bad.pt").write_bytes(b"\x80\x02cos\nsystem\n.")
    for reader in READERS[:4]:
        with contextlib.suppress(FormatError):
            reader(folder / "bad.pt")
    canary = folder / "canary"
    files = []
    for name, data in crafted(str(canary)):
        (folder / name).write_bytes(data)
        files.append(folder / name)
    sys.addaudithook(hook)
    count = 0
    for path in files:
        for reader in READERS[:4]:
            watching = True
            try:
                reader(path)
                wrong.append([path.name, reader.__name__, "loaded"])
            except FormatError:
                pass
            except BaseException as error:
                wrong.append([path.name, reader.__name__, repr(error)[:200]])
            watching = False
            count += 1
    return {"files": len(files), "calls": count, "events": events, "wrong": wrong, "canary": os.path.exists(canary)}


if __name__ == "__main__":
    print(json.dumps(main()))  # noqa: T201
