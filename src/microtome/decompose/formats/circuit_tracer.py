"""Cross-layer transcoders as circuit-tracer reads them: ``config.yaml``, ``W_enc_i`` and ``W_dec_i`` per layer."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microtome import io
from microtome.decompose.cross_layer import CrossLayerTranscoder
from microtome.decompose.formats.common import hook_name, take
from microtome.errors import FormatError, ShapeError, UsageError
from microtome.subject.alias import canonical

KIND, SET = "cross_layer_transcoder", "transcoder_set"
#: Hooks of circuit-tracer -> sites here, where `canonical` does not know them.
HOOKS = {"mlp.hook_in": "mlp.norm", "mlp.hook_out": "mlp.out"}


def load_circuit_tracer(folder: str | Path, *, recording: Any = None) -> CrossLayerTranscoder:
    """Read a cross-layer transcoder.

    Parameters
    ----------
    folder : path
        Holds ``config.yaml`` and, for each layer i, ``W_enc_i.safetensors`` and ``W_dec_i.safetensors``.
    recording : Recording, optional
        All sites that are read and written, to check on. First tokens are left out: circuit-tracer sets them to 0.

    Raises
    ------
    FormatError
        When it is another kind, tensors are missing, transposed or do not fit, or a threshold is negative.
    SubjectMismatch
        When the recording does not fit.
    """
    folder = Path(folder)
    about = flat(io.read_text(folder / "config.yaml"))
    if about.get("model_kind") != KIND:
        more = " Read a set's layers one by one with load_circuit_tracer_layer." if about.get("model_kind") == SET else ""
        raise FormatError(f"'{folder}' holds model_kind {about.get('model_kind')!r}; only {KIND!r} is read.{more}")
    layers = len(list(folder.glob("W_enc_*.safetensors")))
    reads, writes = zip(*(sites(about, i) for i in range(layers)), strict=True) if layers else ((), ())
    if not layers:
        raise FormatError(f"'{folder}' holds no W_enc_i.safetensors.")
    parts: list[dict[str, Any]] = []
    for i in range(layers):
        tensors = io.read_tensors(folder / f"W_enc_{i}.safetensors") | io.read_tensors(folder / f"W_dec_{i}.safetensors")
        if f"W_skip_{i}" in tensors:
            raise FormatError(f"'{folder}': layer {i} has a skip connection, which this reader would drop.")
        names = {"W_enc": f"W_enc_{i}.T", "b_enc": f"b_enc_{i}", "b_dec": f"b_dec_{i}", "W_dec": f"W_dec_{i}"}
        names |= {"threshold": f"threshold_{i}"} if f"threshold_{i}" in tensors else {}
        parts.append(take(tensors, names, folder))
    try:
        stacked = {name: torch.stack([p[name] for p in parts]) for name in ("W_enc", "b_enc", "b_dec")}
        if all("threshold" in p for p in parts):
            latents = parts[0]["b_enc"].shape[0]
            stacked["threshold"] = torch.stack([positive(p["threshold"], folder).flatten().expand(latents) for p in parts])
        made = CrossLayerTranscoder(
            "+".join(reads), reads=reads, writes=writes, W_dec=[p["W_dec"] for p in parts], **stacked, name="circuit_tracer"
        )
    except (ShapeError, RuntimeError) as error:
        raise FormatError(f"'{folder}' does not hold a consistent transcoder: {error}") from error
    return _verified(made, recording, about)


def save_circuit_tracer(clt: CrossLayerTranscoder, folder: str | Path, *, model_name: str = "") -> None:
    """Write a cross-layer transcoder so that circuit-tracer reads it.

    Raises
    ------
    UsageError
        When its sites are not one site of each block, from the first on.
    """
    about, folder = described(KIND, model_name, clt.reads, clt.writes), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(clt.layers):
        tensors = {f"W_enc_{i}": clt.W_enc[i].T, f"b_enc_{i}": clt.b_enc[i], f"b_dec_{i}": clt.b_dec[i]}
        tensors |= {} if clt.threshold is None else {f"threshold_{i}": clt.threshold[i].clamp_min(0)}
        io.write_tensors(folder / f"W_enc_{i}.safetensors", {k: v.detach().cpu().contiguous() for k, v in tensors.items()})
        io.write_tensors(folder / f"W_dec_{i}.safetensors", {f"W_dec_{i}": clt.W_dec[i].detach().cpu().contiguous()})
    io.write_text(folder / "config.yaml", about)


def sites(about: dict[str, str], layer: int) -> tuple[str, str]:
    """What a layer reads and writes, by the hooks of a configuration."""
    hooks = about.get("feature_input_hook", "mlp.hook_in"), about.get("feature_output_hook", "hook_mlp_out")
    read, written = (canonical(f"blocks.{layer}.{HOOKS.get(hook, hook)}") for hook in hooks)
    return read, written


def positive(threshold: Tensor, where: Path) -> Tensor:
    """Thresholds as they are; below 0 circuit-tracer lets negative latents through, which no dictionary here does."""
    if bool((threshold < 0).any()):
        raise FormatError(f"'{where}' holds negative thresholds, which let negative latents through; that is not read.")
    return threshold


def described(kind: str, model_name: str, reads: Sequence[str], writes: Sequence[str], first: int = 0) -> str:
    """The text of ``config.yaml``, which names one hook for all layers; `reads` and `writes` begin at layer `first`."""
    hooks = ["mlp.hook_in" if s[0].endswith(".mlp.norm") else hook_name(s[0]).split(".", 2)[-1] for s in (reads, writes)]
    about = dict(zip(("feature_input_hook", "feature_output_hook"), hooks, strict=True))
    for i, found in enumerate(zip(reads, writes, strict=True), first):
        if found != sites(about, i):
            raise UsageError(f"circuit-tracer reads sites as 'blocks.{i}.HOOK', one hook for all layers; these are {found}.")
    lines = {"model_name": f'"{model_name}"', "model_kind": kind} | {name: f'"{hook}"' for name, hook in about.items()}
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


def flat(text: str) -> dict[str, str]:
    """The scalar entries at the top of a YAML file; all that is needed of it."""
    found = re.findall(r"^(\w+):[ \t]*[\"']?([^\"'#\n]*?)[\"']?[ \t]*(?:#.*)?$", text, flags=re.MULTILINE)
    return {key: value for key, value in found if value}


def _verified(made: CrossLayerTranscoder, recording: Any, about: dict[str, str]) -> CrossLayerTranscoder:
    from microtome.decompose.judge import reconstruction
    from microtome.errors import SubjectMismatch
    from microtome.subject.recording.join import joined

    if recording is None:
        return made
    absent = [s for s in (*made.reads, *made.writes) if s not in recording.sites]
    if absent:
        raise SubjectMismatch(f"the recording lacks the sites {absent}; the file is of {about.get('model_name')!r}.")
    if "position" in recording.index.columns:
        recording = recording.select(recording.index["position"].to_numpy() > 0)
    made.metrics = reconstruction(joined(recording, made.reads), made, target=joined(recording, made.writes))
    if made.metrics["fvu"] > 1:
        raise SubjectMismatch(f"FVU is {made.metrics['fvu']:.3g}: the model or the hooks do not fit. The file says {about}.")
    return made
