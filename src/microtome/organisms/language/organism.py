"""Build the language organism from its shipped weights."""

from typing import Any

from microtome import io
from microtome.organisms import shelf
from microtome.organisms.language.truth import LanguageTruth
from microtome.stimuli.language import corpus as examples

NAME = "language"
__all__ = ["build", "examples", "train"]


def build() -> tuple[Any, Any, LanguageTruth]:
    """The network (`LlamaForCausalLM`, evaluation mode), its Hugging Face tokenizer, and the truth about its world.

    Raises
    ------
    StorageError
        The weights are missing from the package.

    Examples
    --------
    >>> network, tokenizer, truth = build()
    >>> tokenizer("rome is in")["input_ids"][0] == tokenizer.bos_token_id
    True
    """
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    network = LlamaForCausalLM(LlamaConfig.from_dict(shelf.config(NAME)))
    tensors = io.read_tensors(shelf.folder(NAME) / shelf.WEIGHTS)
    network.load_state_dict({"lm_head.weight": tensors["model.embed_tokens.weight"], **tensors})
    network.tie_weights()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(shelf.folder(NAME))
    return network.float().eval(), tokenizer, LanguageTruth(shelf.figures(NAME))


def train(seed: int = 0) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Train the organism from scratch: network, configuration and the figures that it reaches. Takes an hour."""
    from microtome.organisms.language.training import train

    return train(seed)
