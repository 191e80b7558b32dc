"""Small tokenizers made on the spot: words or bytes, with and without special tokens."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = [
    *("the", "a", "cat", "dogs", "red", "ball", "sat", "on", "mat"),
    *("saw", "big", "old", "and", "then", "it", "is", "was", "ran"),
]
SPECIAL = ["[PAD]", "[BOS]", "[EOS]", "[UNK]"]


def words(template: str = "", swap: tuple[str, str] | None = None, **options) -> PreTrainedTokenizerFast:
    """One token per word; `template` like "[BOS] $A" adds special tokens; `swap` exchanges the ids of two words."""
    vocabulary = {w: i for i, w in enumerate([*SPECIAL, *WORDS])}
    if swap:
        first, second = swap
        vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    return _wrapped(core, template, **options)


def letters(template: str = "", **options) -> PreTrainedTokenizerFast:
    """One token per byte, so that a word is several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({w: i for i, w in enumerate([*SPECIAL, *alphabet])}, [], unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    return _wrapped(core, template, **options)


def _wrapped(core, template, **options):
    if template:
        special = [(s, i) for i, s in enumerate(SPECIAL)]
        core.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    given = {"pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]", "unk_token": "[UNK]", **options}
    return PreTrainedTokenizerFast(tokenizer_object=core, **{k: v for k, v in given.items() if v is not None})
