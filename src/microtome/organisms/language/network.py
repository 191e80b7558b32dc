"""The network of the language organism: a small Llama, and a tokenizer with one token per word."""

from typing import Any

from microtome.rng import derive

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
MAX_LENGTH = 128
DIMENSIONS = {
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": MAX_LENGTH,
    "initializer_range": 0.05,
}


def build_tokenizer(words: list[str]) -> Any:
    """A Hugging Face tokenizer over `words`: split at spaces, one token per word, `<s>` in front."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )


def build_network(words: int, seed: int = 0) -> Any:
    """An untrained `LlamaForCausalLM` of about 0.84 million parameters for a vocabulary of `words` words."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(SPECIAL) + words,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **DIMENSIONS,
    )
    with torch.random.fork_rng(devices=[]):  # transformers draws from the global generator; put it back afterwards
        torch.default_generator.manual_seed(derive(seed, "language organism", "network"))
        return LlamaForCausalLM(config).eval()
