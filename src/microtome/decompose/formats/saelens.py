"""The SAELens directory: ``cfg.json`` and ``sae_weights.safetensors``."""

from pathlib import Path
from typing import Any

from torch import Tensor

from microtome import io
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formats.common import hook_name, verify
from microtome.decompose.transcoding import Transcoder
from microtome.errors import FormatError, ShapeError, UsageError, nearest
from microtome.subject.alias import canonical

#: Architecture in cfg.json -> activation here. Batch variants are saved with the threshold they use at inference.
ARCHITECTURES = {
    "standard": "relu", "gated": "jumprelu", "topk": "topk", "jumprelu": "jumprelu", "batchtopk": "jumprelu",
    "matryoshka_batchtopk": "jumprelu", "transcoder": "relu", "skip_transcoder": "relu", "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}  # fmt: skip
#: Options whose value changes the function, with the values that this reader takes.
NEUTRAL = {
    "normalize_activations": ("none", None), "reshape_activations": ("none", "hook_z", None),
    "activation_fn": ("relu", "topk", None), "activation_fn_str": ("relu", "topk", None),
}  # fmt: skip


def load_saelens(
    folder: str | Path, *, site: str | None = None, writes: str | None = None, recording: Any = None
) -> SparseDictionary:
    """Read a sparse autoencoder or a transcoder that SAELens saved (before or after its version 6).

    Parameters
    ----------
    folder : path
        Holds ``cfg.json`` and ``sae_weights.safetensors``.
    site : str, optional
        Where the dictionary lives. Default: the hook name in the file, in canonical form.
    writes : str, optional
        What a transcoder writes. Default: ``hook_name_out`` in the file.
    recording : Recording, optional
        Activations of that site (a transcoder's two sites); the dictionary is scored on them and `metrics` filled.

    Returns
    -------
    SparseDictionary

    Raises
    ------
    FormatError
        When a tensor is missing or transposed, or the file asks for something that this reader would get wrong.
    SubjectMismatch
        When the recording is of another site, or its reconstruction is worse than its mean (FVU above 1).
    """
    folder = Path(folder)
    cfg = io.read_json(folder / "cfg.json")
    if not isinstance(cfg, dict):
        raise FormatError(f"'{folder / 'cfg.json'}' must hold an object, found {type(cfg).__name__}.")
    metadata: dict[str, Any] = cfg["metadata"] if isinstance(cfg.get("metadata"), dict) else {}
    weights = io.read_tensors(folder / "sae_weights.safetensors")
    site = canonical(str(metadata.get("hook_name") or cfg.get("hook_name") or "unknown")) if site is None else site
    try:
        dictionary = _made(site, writes, _arguments(cfg, weights, folder), metadata | cfg, weights)
    except (ShapeError, UsageError) as error:
        raise FormatError(f"'{folder}' does not hold a consistent dictionary: {error}") from error
    bos = metadata.get("prepend_bos", cfg.get("prepend_bos"))
    said = f"The file says {metadata or cfg.get('hook_name')}."
    return verify(dictionary, recording, said=said, first_token=bos if isinstance(bos, bool) else None)


def save_saelens(dictionary: SparseDictionary, folder: str | Path, *, metadata: dict[str, Any] | None = None) -> None:
    """Write a dictionary so that ``SAE.load_from_disk`` of SAELens 6 reads it.

    Parameters
    ----------
    dictionary : SparseDictionary
        A "batchtopk" one is written as "jumprelu", which is what it is at inference.
    folder : path
        Made if absent.
    metadata : dict, optional
        E.g. model_name, hook_name (default: the site, by TransformerLens' name where it has one), context_size, prepend_bos.

    Raises
    ------
    UsageError
        For a transcoder with TopK, or that reads several sites, which SAELens has no class for.
    """
    folder = Path(folder)
    kind = {"relu": "standard", "topk": "topk"}.get(dictionary.activation, "jumprelu")
    out = {"hook_name_out": hook_name(dictionary.writes)} if isinstance(dictionary, Transcoder) else {}
    cfg = {
        "architecture": kind, "d_in": dictionary.width, "d_sae": dictionary.dim,
        "dtype": str(dictionary.W_enc.dtype).removeprefix("torch."), "device": "cpu",
        "apply_b_dec_to_input": dictionary.centred, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"hook_name": hook_name(dictionary.site), **out} | (metadata or {}),
    }  # fmt: skip
    if dictionary.activation == "topk":
        cfg |= {"k": dictionary.k, "rescale_acts_by_decoder_norm": False}
    if isinstance(dictionary, Transcoder):
        cfg |= _transcoder(dictionary, kind)
    tensors = {name: tensor.cpu().contiguous() for name, tensor in dictionary.tensors().items()}
    if "W_skip" in tensors:
        tensors["W_skip"] = tensors["W_skip"].T.contiguous()  # [d_out, d_in] there
    folder.mkdir(parents=True, exist_ok=True)
    io.write_tensors(folder / "sae_weights.safetensors", tensors)
    io.write_json(folder / "cfg.json", cfg)


def _made(site: str, writes: str | None, parts: dict[str, Any], about: dict[str, Any], weights: dict) -> SparseDictionary:
    """An autoencoder, or a transcoder where the file holds one."""
    if not str(about.get("architecture")).endswith("transcoder"):
        return SparseDictionary(site, **parts, name="saelens")
    parts.pop("centred")
    if "skip" in str(about["architecture"]):
        parts["W_skip"] = weights["W_skip"].T
    out = writes or canonical(str(about.get("hook_name_out") or "unknown"))
    return Transcoder(site, writes=out, **parts, name="saelens")


def _transcoder(dictionary: Transcoder, kind: str) -> dict[str, Any]:
    """What the configuration says of a transcoder beyond what it says of an autoencoder."""
    if kind == "topk" or len(dictionary.reads) > 1:
        what = "TopK" if kind == "topk" else f"{len(dictionary.reads)} sites"
        raise UsageError(f"SAELens has no transcoder with {what}; save it in another layout, e.g. save_sparsify.")
    skip = "skip_" if dictionary.W_skip is not None else ""
    made = f"{'jumprelu_' if kind == 'jumprelu' else ''}{skip}transcoder"
    return {"architecture": made, "d_out": dictionary.written_width}


def _arguments(cfg: dict[str, Any], weights: dict[str, Tensor], folder: Path) -> dict[str, Any]:
    """The arguments of `SparseDictionary` from configuration and tensors; refuses what would change the function."""
    kind = cfg.get("architecture", "standard")
    if kind not in ARCHITECTURES:
        near = nearest(str(kind), ARCHITECTURES)
        raise FormatError(f"'{folder}' holds the architecture {kind!r}, which is not read yet.{near}")
    for option, known in NEUTRAL.items():
        if cfg.get(option) not in known:
            raise FormatError(
                f"'{folder}' asks for {option}={cfg[option]!r}; only {known[0]!r} is read. Fold it into the weights with "
                "SAELens (fold_activation_norm_scaling_factor) and save again."
            )
    weights = weights | ({"b_enc": weights["b_gate"]} if kind == "gated" and "b_gate" in weights else {})
    needed = ("W_enc", "b_enc", "W_dec", "b_dec", *(("W_skip",) if "skip" in str(kind) else ()))
    missing = [name for name in needed if name not in weights]
    if missing:
        raise FormatError(f"'{folder}' lacks the tensors {missing}; it holds {sorted(weights)}.")
    parts = {name: weights[name] for name in ("W_enc", "b_enc", "W_dec", "b_dec")}
    _require_orientation(cfg, parts, folder)
    activation, k = ARCHITECTURES[kind], cfg.get("k")
    if "topk" in (cfg.get("activation_fn_str"), cfg.get("activation_fn")):
        arguments = cfg.get("activation_fn_kwargs") or {}
        activation, k = "topk", arguments.get("k", k)
    if cfg.get("rescale_acts_by_decoder_norm") and activation == "topk":
        # Latents are chosen by pre * norm and divided by the norm again before decoding: unit directions say the same.
        norms = parts["W_dec"].norm(dim=1)
        parts |= {"W_enc": parts["W_enc"] * norms, "b_enc": parts["b_enc"] * norms}
        parts["W_dec"] = parts["W_dec"] / norms[:, None]
    if kind == "gated":
        parts |= _gated(parts, weights, folder)
    elif activation == "jumprelu":
        parts["threshold"] = weights.get("threshold")
    centred = bool(cfg.get("apply_b_dec_to_input", True))
    return parts | {"activation": activation, "k": k if activation == "topk" else None, "centred": centred}


def _gated(parts: dict[str, Any], weights: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """A gated encoder as a jump: the magnitude's weights, open above ``b_mag - e^r b_gate``."""
    missing = [name for name in ("b_gate", "b_mag", "r_mag") if name not in weights]
    if missing:
        raise FormatError(f"'{folder}' lacks the tensors {missing} of a gated dictionary.")
    size = weights["r_mag"].exp()
    threshold = weights["b_mag"] - size * weights["b_gate"]
    return {"W_enc": parts["W_enc"] * size, "b_enc": weights["b_mag"], "threshold": threshold}


def _require_orientation(cfg: dict[str, Any], parts: dict[str, Tensor], folder: Path) -> None:
    """Refuse matrices that do not have the orientation which the configuration states."""
    d, latents = cfg.get("d_in"), cfg.get("d_sae")
    for name, wanted in {"W_enc": (d, latents), "W_dec": (latents, cfg.get("d_out", d))}.items():
        shape = tuple(parts[name].shape)
        if shape != wanted:
            hint = " It is stored transposed." if shape == wanted[::-1] else ""
            raise FormatError(f"'{folder}': {name} must be {list(wanted)} by cfg.json, found {list(shape)}.{hint}")
