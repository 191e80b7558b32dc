"""Embeddings that hold still: tokens and places in two parts of the stream, tokens re-drawn while a network learns a rule.

A small decoder that trains its own embeddings learns the words; with random ones that stay, it still learns those it saw. Only
where the vectors of the training words are new in every batch does it learn rules that hold for words never trained on.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from microtome.errors import UsageError


def fix_embeddings(model: Any, generator: torch.Generator, *, size: int | None = None) -> Callable[[Tensor], None]:
    """Draw and freeze the embeddings of a "plain" decoder; returns what draws the vectors of some tokens anew.

    Tokens are random directions of length sqrt(size) in the first `size` dimensions of the stream, places are standard normal
    in the others; the head is the tokens' vectors halved: what is written about a place can never be mistaken for a word.

    Parameters
    ----------
    model : `decoder` of the family "plain"; changed in place.
    generator : of all draws.
    size : dimensions of tokens; default half the width. One attention head can copy a token whole where they are no more
        than its own.

    Returns
    -------
    callable
        ``redraw(ids)``: new vectors for token ids [k], in the embedding and the head.

    Raises
    ------
    UsageError
        When the model is of another family, or `size` leaves places no room.

    Examples
    --------
    >>> from microtome.organisms.small import decoder
    >>> model = decoder(5, layers=1, width=16, heads=2, context=8, family="plain")
    >>> redraw = fix_embeddings(model, torch.Generator())
    >>> before = model.lm_head.weight.clone()
    >>> redraw(torch.arange(3))
    >>> (model.lm_head.weight != before).any(1).tolist()
    [True, True, True, False, False]
    """
    trunk = getattr(model, "transformer", None)
    if trunk is None or getattr(trunk, "ln_f", None) is None or not isinstance(trunk.ln_f, torch.nn.Identity):
        raise UsageError('embeddings are fixed in two parts of a decoder of the family "plain", which has no norms.')
    words, places, head = trunk.wte.weight, trunk.wpe.weight, model.lm_head.weight
    part = words.shape[1] // 2 if size is None else size
    if not 1 <= part < words.shape[1]:
        raise UsageError(f"size must lie in 1..{words.shape[1] - 1}, the width of the stream less one, got {size}.")
    for weight in (words, places, head):
        weight.requires_grad_(False)

    @torch.no_grad()
    def redraw(ids: Tensor) -> None:
        drawn = torch.randn(len(ids), part, generator=generator)
        words[ids, :part] = drawn / drawn.norm(dim=1, keepdim=True) * part**0.5
        head.copy_(words / 2)

    words.zero_(), places.zero_()
    places[:, part:] = torch.randn(len(places), words.shape[1] - part, generator=generator)
    redraw(torch.arange(len(words)))
    return redraw
