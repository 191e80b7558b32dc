"""Load a subject by name: an organism, a local folder, or a Hugging Face hub id."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from microtome.errors import FormatError, TokenizerError, UnsafeContent, UsageError
from microtome.subject.subject import Subject

if TYPE_CHECKING:
    import torch


def load(
    name: "str | Path",
    *,
    device: "str | torch.device" = "cpu",
    dtype: "str | torch.dtype | None" = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Subject:
    """A `Subject` by name.

    Parameters
    ----------
    name : str or path
        ``"organism:language"`` (see ``microtome organisms``), a local folder in Hugging Face format, or a hub id such as
        ``"openai-community/gpt2"``.
    device : str
        Where the weights go.
    dtype : str or torch.dtype, optional
        Default: as stored, float32 on CPU for half-precision checkpoints is the user's choice (``dtype="float32"``).
    revision : str, optional
        Branch, tag or commit of a hub id.
    trust_remote_code : bool
        Run Python code that ships with the checkpoint. Off: such checkpoints are refused.

    Returns
    -------
    Subject

    Raises
    ------
    UsageError
        No such organism or folder.
    UnsafeContent
        The checkpoint wants to run its own code, has only pickled weights, or its index points outside its folder.
    FormatError
        The folder does not hold a model.

    Examples
    --------
    >>> load("organism:nowhere")
    Traceback (most recent call last):
        ...
    microtome.errors.UsageError: ...
    """
    text = str(name)
    if text.startswith("organism:"):
        return load_organism(text.removeprefix("organism:"), device=device)
    folder = Path(text)
    if folder.is_dir():
        check_folder(folder, trust_remote_code)
    elif folder.is_absolute() or text.startswith(".") or text.count("/") != 1:
        raise UsageError(
            f"'{text}' is neither a folder, nor 'organism:NAME', nor a hub id 'owner/name'. "
            "List the organisms with: microtome organisms"
        )
    return _pretrained(text, device, dtype, revision, trust_remote_code)


def load_organism(name: str, *, device: "str | torch.device" = "cpu") -> Subject:
    """A subject with known insides; its ground truth is ``subject.organism.truth``."""
    from microtome.organisms.registry import build

    organism = build(name)
    subject = Subject(organism.module.to(device), organism.tokenizer, f"organism:{name}")
    subject.organism = organism
    return subject


def check_folder(folder: Path, trust_remote_code: bool) -> None:
    """Refuse a checkpoint folder that would run code or leave its folder, before anything is read by other libraries."""
    from microtome.io import read_json, safe_join

    config = folder / "config.json"
    if not config.is_file():
        raise FormatError(f"'{folder}' has no config.json: it is not a Hugging Face model folder.")
    facts = read_json(config)
    if not isinstance(facts, dict):
        raise FormatError(f"'{config}' must hold a JSON object.")
    if facts.get("auto_map") and not trust_remote_code:
        raise UnsafeContent(
            f"'{folder}' wants to run its own Python code (auto_map in config.json). It is refused. "
            "If you trust it: mt.load(..., trust_remote_code=True)."
        )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        listed = read_json(index)
        weights = listed.get("weight_map", {}) if isinstance(listed, dict) else {}
        for shard in sorted({str(v) for v in weights.values()}):
            safe_join(folder, shard)
    elif not any(folder.glob("*.safetensors")):
        found = sorted(p.name for p in folder.glob("*.bin")) or "none"
        raise UnsafeContent(
            f"'{folder}' has no .safetensors weights (pickled files: {found}). Pickled weights are not read. "
            "Convert them once where you trust them: AutoModel.from_pretrained(...).save_pretrained(..., safe_serialization=True)."
        )


def _pretrained(name: str, device: Any, dtype: Any, revision: str | None, trust: bool) -> Subject:
    import transformers

    options = {"revision": revision} if revision else {}
    try:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=trust, **options)
    except (OSError, ValueError) as error:
        raise FormatError(f"cannot load a model from '{name}': {str(error).splitlines()[0]}") from error
    kind = next((k for k in (getattr(config, "architectures", None) or []) if hasattr(transformers, k)), None)
    factory = getattr(transformers, kind) if kind else transformers.AutoModel
    try:
        model = factory.from_pretrained(
            name, config=config, dtype=dtype or "auto", use_safetensors=True, trust_remote_code=trust, **options
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise FormatError(f"cannot read the weights of '{name}': {str(error).splitlines()[0]}") from error
    return Subject(model.to(device), _tokenizer(name, options), Path(name).name if Path(name).is_dir() else name)


def _tokenizer(name: str, options: dict[str, str]) -> Any:
    """The tokenizer beside the model; None for models that have none (vision)."""
    import transformers

    folder = Path(name)
    if folder.is_dir() and not any((folder / f).exists() for f in ("tokenizer.json", "tokenizer_config.json", "vocab.txt",
                                                                    "vocab.json", "tokenizer.model", "spiece.model")):
        return None
    try:
        return transformers.AutoTokenizer.from_pretrained(name, **options)
    except (OSError, ValueError, KeyError) as error:
        raise TokenizerError(f"cannot load the tokenizer of '{name}': {str(error).splitlines()[0]}") from error
