"""A word-level tokenizer for a closed vocabulary: `<bos>` in front of every text, words split at white space."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<bos>", "<unk>")


def vocabulary(*groups: Iterable[str]) -> dict[str, int]:
    """Token ids: special tokens first, then the words in the order given."""
    words = [*SPECIAL, *(word for group in groups for word in group)]
    return {word: code for code, word in enumerate(dict.fromkeys(words))}


def word_tokenizer(vocab: dict[str, int]) -> "PreTrainedTokenizerFast":
    """A Hugging Face fast tokenizer over `vocab`, made in memory."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(WordLevel(vocab, unk_token="<unk>"))
    inner.pre_tokenizer = WhitespaceSplit()
    inner.post_processor = TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", vocab["<bos>"])])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<bos>", pad_token="<pad>", unk_token="<unk>", padding_side="right"
    )
