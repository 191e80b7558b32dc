"""What makes two subjects the same: architecture, every tensor, and the tokenizer."""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from microtome.io import hash_tensors

if TYPE_CHECKING:
    from microtome.subject.subject import Subject


def fingerprint(module: nn.Module, tokenizer: Any = None) -> str:
    """A hash over module types, names and settings, all parameters and buffers, and the tokenizer.

    Settings are what torch prints of a layer (stride, eps, ...). Buffers count even where a checkpoint leaves them out:
    rotary frequencies decide what a model computes.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, child in module.named_modules():
        digest.update(f"{name}:{type(child).__qualname__}({child.extra_repr()});".encode())
    tensors = {**dict(module.named_buffers()), **module.state_dict()}
    digest.update(hash_tensors({k: v.detach().cpu() for k, v in tensors.items() if isinstance(v, Tensor)}).encode())
    digest.update(tokenizer_fingerprint(tokenizer).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class Known:
    """A fingerprint, and what was true of the subject when it was computed."""

    stamp: tuple
    sample: tuple
    value: str


def current_fingerprint(subject: "Subject") -> str:
    """The subject's fingerprint, computed again only after a tensor or the tokenizer was replaced or written to.

    What is asked in every run. Writing through ``.data`` is not noticed here, but by `checked_fingerprint`.
    """
    if subject.known_as is None or _inference(subject) or subject.known_as.stamp != _stamp(subject):
        return checked_fingerprint(subject)
    return subject.known_as.value


def checked_fingerprint(subject: "Subject") -> str:
    """The same after a look at the layers' settings and at eight numbers of every tensor: what `Subject.fingerprint` gives.

    To hash a model of a billion parameters takes seconds, the look takes milliseconds. It misses single weights that were
    written through ``.data``, which leaves no trace; ``fingerprint(subject.module, subject.tokenizer)`` reads all of them.
    """
    if _inference(subject):  # such tensors do not say when they are written to
        return fingerprint(subject.module, subject.tokenizer)
    stamp, sample = _stamp(subject), _sample(subject.module)
    if subject.known_as is None or (subject.known_as.stamp, subject.known_as.sample) != (stamp, sample):
        subject.known_as = Known(stamp, sample, fingerprint(subject.module, subject.tokenizer))
    return subject.known_as.value


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _inference(subject: "Subject") -> bool:
    return any(t.is_inference() for t in _tensors(subject.module))


def _stamp(subject: "Subject") -> tuple:
    """What changes when a tensor is replaced or written to, or the tokenizer is."""
    tensors = ((t.data_ptr(), t._version, t.shape) for t in _tensors(subject.module))
    return (id(subject.tokenizer), _special(subject.tokenizer), *tensors)


def _sample(module: nn.Module) -> tuple:
    """Settings of all layers, and eight numbers of every tensor, from the first to the last."""
    layers = tuple((name, type(child).__qualname__, child.extra_repr()) for name, child in module.named_modules())
    groups: dict[tuple, list[Tensor]] = {}
    for t in _tensors(module):
        if t.numel() and t.layout is torch.strided:
            flat = (torch.view_as_real(t) if t.is_complex() else t).detach().reshape(-1)
            groups.setdefault((t.device, t.dtype), []).append(flat[:: max(1, flat.numel() // 7)])
    taken = tuple(bytes(torch.cat(parts).cpu().contiguous().view(torch.uint8).numpy()) for parts in groups.values())
    return layers, taken


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """A hash over what turns text into ids: vocabulary, merges, normaliser, special ids, padding side, chat template."""
    if tokenizer is None:
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    core = json.loads(backend.to_str()) if backend is not None else sorted(tokenizer.get_vocab().items())
    if isinstance(core, dict):
        core = {k: v for k, v in core.items() if k not in ("padding", "truncation")}  # call-time state, not identity
    text = json.dumps([core, dict(_special(tokenizer))], sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _special(tokenizer: Any) -> tuple[tuple[str, Any], ...]:
    """What a tokenizer adds around a text, by name."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "padding_side", "chat_template")
    return tuple((name, str(getattr(tokenizer, name, None))) for name in names)
