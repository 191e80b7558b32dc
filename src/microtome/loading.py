"""Load a subject by name: an organism, a local folder, or a Hugging Face hub id."""

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microtome.errors import FormatError, MicrotomeError, TokenizerError, UnsafeContent, UsageError
from microtome.subject.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    if text and folder.is_dir():
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
    subject = Subject(_moved(organism.module, device), organism.tokenizer, f"organism:{name}")
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
    if (folder / "adapter_config.json").is_file():
        raise UnsafeContent(
            f"'{folder}' is an adapter: it names another model to fetch. Merge it once where you trust it "
            "(peft: model.merge_and_unload()), save the whole model, and load that."
        )
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        listed = read_json(index)
        weights = listed.get("weight_map") if isinstance(listed, dict) else None
        if not isinstance(weights, dict) or not all(isinstance(v, str) for v in weights.values()):
            raise FormatError(f"'{index}' must hold a 'weight_map' of names to files. Get the file again.")
        for shard in sorted(set(weights.values())):
            safe_join(folder, shard)
    elif not any(folder.glob("*.safetensors")):
        found = sorted(p.name for p in folder.glob("*.bin")) or "none"
        raise UnsafeContent(
            f"'{folder}' has no .safetensors weights (pickled files: {found}). Pickled weights are not read. "
            "Convert them once where you trust them: AutoModel.from_pretrained(...).save_pretrained(folder)."
        )


def _pretrained(name: str, device: Any, dtype: Any, revision: str | None, trust: bool) -> Subject:
    options = {"revision": revision} if revision else {}
    with _quiet():
        return _read(name, device, dtype, trust, options)


@contextlib.contextmanager
def _quiet() -> "Iterator[None]":
    """No progress bars and reports of transformers where nobody watches; the user's settings come back afterwards."""
    from huggingface_hub import utils as hub
    from transformers.utils import logging

    if sys.stderr.isatty():
        yield
        return
    bars, hub_bars, verbosity = logging.is_progress_bar_enabled(), not hub.are_progress_bars_disabled(), logging.get_verbosity()
    try:
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
        if hub_bars:
            hub.enable_progress_bars()
        else:
            hub.disable_progress_bars()


def _read(name: str, device: Any, dtype: Any, trust: bool, options: dict[str, str]) -> Subject:
    import transformers
    from safetensors import SafetensorError

    try:
        config = transformers.AutoConfig.from_pretrained(name, trust_remote_code=trust, **options)
    except (OSError, ValueError) as error:
        raise _refusal(name, "cannot load a model from", error) from error
    known = (getattr(transformers, k, None) for k in getattr(config, "architectures", None) or [])
    factory = next((k for k in known if isinstance(k, type) and issubclass(k, transformers.PreTrainedModel)),
                   transformers.AutoModel)  # fmt: skip
    try:
        model, loaded = factory.from_pretrained(
            name, config=config, dtype=dtype or "auto", use_safetensors=True, trust_remote_code=trust,
            output_loading_info=True, **options,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _refusal(name, "cannot read the weights of", error) from error
    if missing := sorted(loaded["missing_keys"]):
        raise FormatError(
            f"the checkpoint '{name}' lacks {len(missing)} tensors of its model (first: {missing[0]}), which would be random. "
            "Get it again, or build the module yourself and wrap it: mt.Subject(module, tokenizer)."
        )
    label = Path(name).name if Path(name).is_dir() else name
    return Subject(_moved(model, device), _tokenizer(name, trust, options), label)


def _refusal(name: str, what: str, error: Exception) -> MicrotomeError:
    """The typed error for what transformers says."""
    first = str(error).strip().splitlines()[0]
    if "ignore_mismatched_sizes" in first:
        first = "its tensors do not have the shapes that config.json asks for."
    if "trust_remote_code" in str(error):
        return UnsafeContent(
            f"'{name}' wants to run its own Python code. It is refused. If you trust it: mt.load(..., trust_remote_code=True)."
        )
    if not Path(name).is_dir() and ("connect to" in first or "offline" in first.lower()):
        return UsageError(
            f"'{name}' is not in the local cache and the Hugging Face hub cannot be reached ({first}) "
            "Download it once while online, unset HF_HUB_OFFLINE, or give a folder."
        )
    return FormatError(f"{what} '{name}': {first}")


def _moved(model: Any, device: Any) -> Any:
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device '{device}' cannot be used here: {str(error).splitlines()[0]}. Try device='cpu'.") from error


def _tokenizer(name: str, trust: bool, options: dict[str, str]) -> Any:
    """The tokenizer beside the model; None for models that have none (vision)."""
    import transformers

    folder = Path(name)
    if folder.is_dir() and not any((folder / f).exists() for f in ("tokenizer.json", "tokenizer_config.json", "vocab.txt",
                                                                    "vocab.json", "tokenizer.model", "spiece.model")):
        return None
    try:
        return transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=trust, **options)
    except Exception as error:  # the tokenizers library raises bare Exception on a damaged file
        raise TokenizerError(f"cannot load the tokenizer of '{name}': {str(error).splitlines()[0]}") from error
