"""One door for every untrusted byte: files in and out, names, hashes, atomic writes, locks, escaping, secrets.

Nothing here knows another room. Every reader gives plain data or a typed error, never runs code from a file, and bounds
time and memory by the size of the file; every writer is atomic. The only exception is `load_code`, which asks for
``Trust.CODE`` file by file.
"""

from microtome.io._unsafe import load_code
from microtome.io.arrays import read_npz, write_npz
from microtome.io.atomic import AtomicFile, Written, atomic_write, sweep_temporaries, write_bytes, write_text
from microtome.io.escape import escape_csv, escape_html, escape_terminal, script_json, visible
from microtome.io.hashing import hash_bytes, hash_file, hash_tensors
from microtome.io.jsonfile import dump_json, parse_json, read_json, write_json
from microtome.io.jsonlines import append_jsonl, iter_jsonl, read_jsonl
from microtome.io.locks import lock
from microtome.io.manifest import Damage, Manifest
from microtome.io.paths import opened, regular_file, safe_join
from microtome.io.redaction import RedactFilter, Secret, redact
from microtome.io.tables import read_table, write_table
from microtome.io.tensors import TensorFile, open_tensors, read_tensors, write_tensors
from microtome.io.textfile import read_text
from microtome.io.torchfile import read_torch
from microtome.io.trust import Trust

__all__ = [
    "AtomicFile",
    "Damage",
    "Manifest",
    "RedactFilter",
    "Secret",
    "TensorFile",
    "Trust",
    "Written",
    "append_jsonl",
    "atomic_write",
    "dump_json",
    "escape_csv",
    "escape_html",
    "escape_terminal",
    "hash_bytes",
    "hash_file",
    "hash_tensors",
    "iter_jsonl",
    "load_code",
    "lock",
    "open_tensors",
    "opened",
    "parse_json",
    "read_json",
    "read_jsonl",
    "read_npz",
    "read_table",
    "read_tensors",
    "read_text",
    "read_torch",
    "redact",
    "regular_file",
    "safe_join",
    "script_json",
    "sweep_temporaries",
    "visible",
    "write_bytes",
    "write_json",
    "write_npz",
    "write_table",
    "write_tensors",
    "write_text",
]
