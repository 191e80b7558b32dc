"""Single layers of a transcoder set as circuit-tracer reads it: ``layer_i.safetensors`` beside a ``config.yaml``."""

import re
from pathlib import Path
from typing import Any

from microtome import io
from microtome.decompose.formats.circuit_tracer import SET, described, flat, positive, sites
from microtome.decompose.formats.common import make, take, verify
from microtome.decompose.transcoding import Transcoder
from microtome.errors import FormatError, UsageError

NAMES = {"W_enc": "W_enc.T", "b_enc": "b_enc", "W_dec": "W_dec", "b_dec": "b_dec"}
THRESHOLD = "activation_function.threshold"


def load_circuit_tracer_layer(
    path: str | Path, *, site: str | None = None, writes: str | None = None, recording: Any = None
) -> Transcoder:
    """Read one layer of a transcoder set.

    Parameters
    ----------
    path : path
        ``layer_i.safetensors``; hooks, and k for TopK, come from ``config.yaml`` in its folder.
    site, writes : str, optional
        What is read and written. Default: the hooks of the configuration, at the layer in the file's name.
    recording : Recording, optional
        Both sites, to check the transcoder on, without first tokens (circuit-tracer sets their latents to 0).

    Raises
    ------
    FormatError
        When a tensor is missing or transposed, a threshold is negative, or sites or k are not to be found.
    SubjectMismatch
        When the recording does not fit.

    Notes
    -----
    circuit-tracer's TopK keeps the k largest latents even where they are negative; here those are 0.
    """
    path = Path(path)
    config = path.parent / "config.yaml"
    about = flat(io.read_text(config)) if config.is_file() else {}
    layer = re.search(r"(\d+)", path.stem)
    if (site is None or writes is None) and (layer is None or "feature_input_hook" not in about):
        raise FormatError(f"'{path}' does not say what it reads and writes; give site= and writes=.")
    read, written = sites(about, int(layer[1]) if layer else 0)
    tensors = io.read_tensors(path)
    names = NAMES | ({"W_skip": "W_skip.T"} if "W_skip" in tensors else {})
    parts: dict[str, Any] = take(tensors, names, path) | {"writes": writes or written}
    if THRESHOLD in tensors:
        parts |= {"activation": "jumprelu", "threshold": positive(tensors[THRESHOLD], path).flatten()}
    elif "k" in tensors or about.get("activation") == "topk":
        k = int(tensors["k"]) if "k" in tensors else int(about.get("k", 0))
        parts |= {"activation": "topk", "k": k}
    made = make(path, site or read, parts, cls=Transcoder)
    made.name = "circuit_tracer"
    return verify(made, recording, said=f"The file says {about.get('model_name')}.", first_token=False)


def save_circuit_tracer_layer(transcoder: Transcoder, path: str | Path, *, model_name: str = "") -> None:
    """Write a transcoder as ``layer_i.safetensors``, and ``config.yaml`` beside it where there is none.

    That TopK is meant stands in the configuration; circuit-tracer 0.5.0 does not look there yet and would take it for ReLU.

    Raises
    ------
    UsageError
        When it is no transcoder of one site and one width, or its sites are not those of block i, or of the configuration
        that stands there.
    """
    path = Path(path)
    layer = re.fullmatch(r"layer_(\d+)\.safetensors", path.name)
    if layer is None or not isinstance(transcoder, Transcoder) or len(transcoder.reads) != 1:
        raise UsageError(f"circuit-tracer reads one site's transcoder from 'layer_3.safetensors'; got '{path.name}'.")
    if transcoder.width != transcoder.written_width:
        raise UsageError("circuit-tracer's transcoders write as many units as they read; this one does not.")
    here, config = (transcoder.site, transcoder.writes), path.parent / "config.yaml"
    about = described(SET, model_name, here[:1], here[1:], int(layer[1]))
    about += f"activation: topk\nk: {transcoder.k}\n" if transcoder.activation == "topk" else ""
    if config.exists() and sites(flat(io.read_text(config)), int(layer[1])) != here:
        raise UsageError(f"'{config}' names other hooks than those of this transcoder, {here}; use another folder.")
    parts = {name: value.detach().cpu() for name, value in transcoder.tensors().items()}
    if "threshold" in parts:
        parts[THRESHOLD] = parts.pop("threshold").clamp_min(0)  # below 0, theirs lets negative latents through
    tensors = {name: value.T if name in ("W_enc", "W_skip") else value for name, value in parts.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    io.write_tensors(path, {name: value.contiguous() for name, value in tensors.items()})
    if not config.exists():
        io.write_text(config, about)
