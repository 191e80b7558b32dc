"""What makes two subjects the same: architecture, every tensor, and the tokenizer."""

import hashlib
import json
from typing import Any

from torch import nn

from microtome.io import hash_tensors


def fingerprint(module: nn.Module, tokenizer: Any = None) -> str:
    """A hash over module types and names, all parameters and buffers, and the tokenizer's vocabulary and special ids."""
    digest = hashlib.blake2b(digest_size=16)
    for name, child in module.named_modules():
        digest.update(f"{name}:{type(child).__qualname__};".encode())
    digest.update(hash_tensors({k: v.detach().cpu() for k, v in module.state_dict().items()}).encode())
    digest.update(tokenizer_fingerprint(tokenizer).encode())
    return digest.hexdigest()


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """A hash over what turns text into ids: vocabulary, merges, normaliser, special ids, padding side, chat template."""
    if tokenizer is None:
        return ""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    core = json.loads(backend.to_str()) if backend is not None else sorted(tokenizer.get_vocab().items())
    if isinstance(core, dict):
        core = {k: v for k, v in core.items() if k not in ("padding", "truncation")}  # call-time state, not identity
    special = {k: getattr(tokenizer, k, None) for k in ("bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id",
                                                         "padding_side", "chat_template")}
    text = json.dumps([core, special], sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
