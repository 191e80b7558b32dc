"""The folder of dictionary_learning: ``ae.pt`` (a state dict, read without unpickling objects) and ``config.json``."""

import io as bytes_io
from pathlib import Path
from typing import Any

import torch

from microtome import io
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formats.common import make, read_object, take, verify
from microtome.errors import FormatError, UsageError, nearest

LINEAR = {"W_enc": "encoder.weight.T", "b_enc": "encoder.bias", "W_dec": "decoder.weight.T"}
PLAIN = {name: name for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
#: Class -> names of the tensors, activation, whether b_dec is taken from the input.
CLASSES: dict[str, tuple[dict[str, str], str, bool]] = {
    "AutoEncoder": (LINEAR | {"b_dec": "bias"}, "relu", True),
    "GatedAutoEncoder": (
        {"W_enc": "encoder.weight.T", "W_dec": "decoder.weight.T", "b_dec": "decoder_bias", "r_mag": "r_mag",
         "gate": "gate_bias", "b_enc": "mag_bias"}, "gated", True),
    "AutoEncoderTopK": (LINEAR | {"b_dec": "b_dec"}, "topk", True),
    "BatchTopKSAE": (LINEAR | {"b_dec": "b_dec", "threshold": "threshold"}, "batchtopk", True),
    "MatryoshkaBatchTopKSAE": (PLAIN | {"threshold": "threshold"}, "batchtopk", True),
    "JumpReluAutoEncoder": (PLAIN | {"threshold": "threshold"}, "jumprelu", False),
}  # fmt: skip


def load_dictionary_learning(folder: str | Path, *, site: str | None = None, recording: Any = None) -> SparseDictionary:
    """Read a dictionary that dictionary_learning saved.

    Parameters
    ----------
    folder : path
        Holds ``ae.pt`` and ``config.json``.
    site : str, optional
        Default: the submodule's name in the file.
    recording : Recording, optional
        Activations of that site, to check the dictionary on; see `formats.common.verify`.

    Raises
    ------
    FormatError
        When the class is not known or a tensor is missing or transposed.
    SubjectMismatch
        When the recording does not fit.
    """
    folder = Path(folder)
    config = read_object(folder / "config.json")
    about = config.get("trainer") if isinstance(config.get("trainer"), dict) else config
    kind = about.get("dict_class", "AutoEncoder")
    if kind not in CLASSES:
        raise FormatError(f"'{folder}' holds the class {kind!r}, which is not read.{nearest(str(kind), CLASSES)}")
    names, activation, centred = CLASSES[kind]
    tensors = io.read_torch(folder / "ae.pt")
    if not isinstance(tensors, dict):
        raise FormatError(f"'{folder / 'ae.pt'}' must hold a state dict, found {type(tensors).__name__}.")
    parts: dict[str, Any] = take(tensors, names, folder)
    if activation == "gated":
        size = parts.pop("r_mag").exp()
        parts["threshold"] = parts["b_enc"] - size * parts.pop("gate")
        parts["W_enc"], activation = parts["W_enc"] * size, "jumprelu"
    k = tensors.get("k", about.get("k"))
    parts |= {"activation": activation, "centred": centred, "k": None if k is None else int(k)}
    if activation not in ("topk", "batchtopk"):
        parts["k"] = None
    where = site or str(about.get("submodule_name") or "unknown")
    width = about.get("activation_dim")
    made = make(folder, where, parts, width=int(width) if width else None)
    made.name = "dictionary_learning"
    said = f"The file says {about.get('lm_name')}, layer {about.get('layer')}, {about.get('submodule_name')}."
    return verify(made, recording, said=said)


def save_dictionary_learning(dictionary: SparseDictionary, folder: str | Path, *, lm_name: str = "", layer: int = 0) -> None:
    """Write a dictionary so that dictionary_learning reads it.

    Raises
    ------
    UsageError
        When its classes cannot hold the function: a ReLU, TopK or BatchTopK dictionary must take b_dec from its input, a
        JumpReLU one must not.
    """
    folder = Path(folder)
    kind = {"relu": "AutoEncoder", "topk": "AutoEncoderTopK", "batchtopk": "BatchTopKSAE", "jumprelu": "JumpReluAutoEncoder"}
    names, activation, centred = CLASSES[kind[dictionary.activation]]
    parts = dictionary.tensors()
    if activation == "jumprelu" and dictionary.centred:  # b_dec goes into the encoder's bias
        parts = parts | {"b_enc": dictionary.b_enc - dictionary.b_dec @ dictionary.W_enc}
    elif dictionary.centred != centred:
        raise UsageError(f"{kind[dictionary.activation]} takes b_dec from its input; this dictionary does not.")
    if activation == "batchtopk":
        limits = parts["threshold"].unique()
        if len(limits) != 1:
            raise UsageError("a BatchTopKSAE has one threshold for all latents; save it in another format.")
        parts = parts | {"threshold": limits[0]}
    state: dict[str, Any] = {}
    for ours, theirs in names.items():
        value = parts[ours].detach().cpu()
        state[theirs.removesuffix(".T")] = (value.T if theirs.endswith(".T") else value).contiguous()
    if dictionary.k is not None:
        state["k"] = torch.tensor(dictionary.k)
    if activation == "topk":
        state["threshold"] = torch.tensor(-1.0)
    buffer = bytes_io.BytesIO()
    torch.save(state, buffer)
    folder.mkdir(parents=True, exist_ok=True)
    io.write_bytes(folder / "ae.pt", buffer.getvalue())
    about = {"dict_class": kind[dictionary.activation], "activation_dim": dictionary.width, "dict_size": dictionary.dim,
             "k": dictionary.k, "layer": layer, "lm_name": lm_name, "submodule_name": dictionary.site}  # fmt: skip
    io.write_json(folder / "config.json", {"trainer": about, "buffer": {}})
