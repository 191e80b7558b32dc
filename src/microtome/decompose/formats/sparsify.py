"""The folder of sparsify: ``cfg.json`` and ``sae.safetensors``, for autoencoders and (skip) transcoders."""

from pathlib import Path
from typing import Any

from microtome import io
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formats.common import make, read_object, take, verify
from microtome.decompose.transcoding import Transcoder
from microtome.errors import FormatError, UsageError

NAMES = {"W_enc": "encoder.weight.T", "b_enc": "encoder.bias", "W_dec": "W_dec", "b_dec": "b_dec"}


def load_sparsify(
    folder: str | Path, *, site: str | None = None, writes: str | None = None, recording: Any = None
) -> SparseDictionary:
    """Read an autoencoder or a transcoder that sparsify saved.

    Parameters
    ----------
    folder : path
        ``<run>/<hookpoint>``, with ``cfg.json`` and ``sae.safetensors``.
    site : str, optional
        What is read. Default: the folder's name, which is the hook point.
    writes : str, optional
        What a transcoder writes; default: the hook point of the folder, the output of the module whose input is read.
    recording : Recording, optional
        To check the dictionary on; see `formats.common.verify`.

    Raises
    ------
    FormatError
        When a tensor is missing or transposed, or the activation is not known.
    SubjectMismatch
        When the recording does not fit.
    """
    folder = Path(folder)
    cfg = read_object(folder / "cfg.json")
    if cfg.get("activation", "topk") != "topk":
        raise FormatError(f"'{folder}' holds the activation {cfg['activation']!r}; only 'topk' is read.")
    if cfg.get("signed"):
        raise FormatError(f"'{folder}' keeps the k largest of either sign; only positive latents are read.")
    tensors = io.read_tensors(folder / "sae.safetensors")
    skip = bool(cfg.get("skip_connection"))
    if skip and not cfg.get("transcode"):
        raise FormatError(f"'{folder}' holds an autoencoder with a skip connection; only a transcoder has one.")
    parts: dict[str, Any] = take(tensors, NAMES | ({"W_skip": "W_skip.T"} if skip else {}), folder)
    parts |= {"activation": "topk", "k": int(cfg.get("k", 0))}
    width = int(cfg["d_in"]) if cfg.get("d_in") else None
    if not cfg.get("transcode"):
        made = make(folder, site or folder.name, parts | {"centred": True}, width=width)
    else:
        parts |= {"writes": writes or folder.name}
        made = make(folder, site or f"{folder.name}:input", parts, width=width, cls=Transcoder)
    made.name = "sparsify"
    return verify(made, recording, said=f"The folder is named '{folder.name}'.")


def save_sparsify(dictionary: SparseDictionary, folder: str | Path) -> None:
    """Write a TopK autoencoder or transcoder so that sparsify reads it.

    Raises
    ------
    UsageError
        When the dictionary is not TopK, an autoencoder that does not take b_dec from its input, or a transcoder between
        sites of different widths.
    """
    across = isinstance(dictionary, Transcoder)
    if dictionary.activation != "topk" or not (across or dictionary.centred):
        raise UsageError("sparsify holds TopK dictionaries (autoencoders with b_dec taken from the input); this is none.")
    if across and dictionary.written_width != dictionary.width:
        widths = f"{dictionary.width} to {dictionary.written_width}"
        raise UsageError(f"sparsify's transcoders write as many units as they read; this one goes from {widths}.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {name: value.detach().cpu() for name, value in dictionary.tensors().items()}
    tensors = {
        "encoder.weight": parts["W_enc"].T,
        "encoder.bias": parts["b_enc"],
        "W_dec": parts["W_dec"],
        "b_dec": parts["b_dec"],
    }
    skip = "W_skip" in parts
    tensors |= {"W_skip": parts["W_skip"].T} if skip else {}
    io.write_tensors(folder / "sae.safetensors", {name: value.contiguous() for name, value in tensors.items()})
    about = {"activation": "topk", "k": dictionary.k, "num_latents": dictionary.dim, "expansion_factor": 0}
    about |= {"d_in": dictionary.width, "transcode": across, "skip_connection": skip, "normalize_decoder": True}
    io.write_json(folder / "cfg.json", about)
