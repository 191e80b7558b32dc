"""The SAELens directory: ``cfg.json`` and ``sae_weights.safetensors``."""

from pathlib import Path
from typing import Any

from torch import Tensor

from microtome import io
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formats.common import verify
from microtome.errors import FormatError, ShapeError, UsageError, nearest
from microtome.subject.alias import canonical

#: Architecture in cfg.json -> activation here. Batch variants are saved with the threshold they use at inference.
ARCHITECTURES = {
    "standard": "relu", "gated": "jumprelu", "topk": "topk", "jumprelu": "jumprelu", "batchtopk": "jumprelu",
    "matryoshka_batchtopk": "jumprelu",
}  # fmt: skip
#: Options whose value changes the function, with the values that this reader takes.
NEUTRAL = {
    "normalize_activations": ("none", None), "reshape_activations": ("none", "hook_z", None),
    "activation_fn": ("relu", "topk", None), "activation_fn_str": ("relu", "topk", None),
}  # fmt: skip


def load_saelens(folder: str | Path, *, site: str | None = None, recording: Any = None) -> SparseDictionary:
    """Read a sparse autoencoder that SAELens saved (before or after its version 6).

    Parameters
    ----------
    folder : path
        Holds ``cfg.json`` and ``sae_weights.safetensors``.
    site : str, optional
        Where the dictionary lives. Default: the hook name in the file, in canonical form.
    recording : Recording, optional
        Activations of that site; the dictionary is scored on them and `metrics` filled.

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
    metadata = cfg.get("metadata") if isinstance(cfg.get("metadata"), dict) else {}
    weights = io.read_tensors(folder / "sae_weights.safetensors")
    site = canonical(str(metadata.get("hook_name") or cfg.get("hook_name") or "unknown")) if site is None else site
    try:
        dictionary = SparseDictionary(site, **_arguments(cfg, weights, folder), name="saelens")
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
        E.g. model_name, hook_name (default: the site), context_size, prepend_bos.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kind = {"relu": "standard", "topk": "topk"}.get(dictionary.activation, "jumprelu")
    cfg = {
        "architecture": kind, "d_in": dictionary.width, "d_sae": dictionary.dim,
        "dtype": str(dictionary.W_enc.dtype).removeprefix("torch."), "device": "cpu",
        "apply_b_dec_to_input": dictionary.centred, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"hook_name": dictionary.site} | (metadata or {}),
    }  # fmt: skip
    if dictionary.activation == "topk":
        cfg |= {"k": dictionary.k, "rescale_acts_by_decoder_norm": False}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in dictionary.tensors().items()}
    io.write_tensors(folder / "sae_weights.safetensors", tensors)
    io.write_json(folder / "cfg.json", cfg)


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
    missing = [name for name in ("W_enc", "b_enc", "W_dec", "b_dec") if name not in weights]
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
    for name, wanted in {"W_enc": (d, latents), "W_dec": (latents, d)}.items():
        shape = tuple(parts[name].shape)
        if shape != wanted:
            hint = " It is stored transposed." if shape == wanted[::-1] else ""
            raise FormatError(f"'{folder}': {name} must be {list(wanted)} by cfg.json, found {list(shape)}.{hint}")
