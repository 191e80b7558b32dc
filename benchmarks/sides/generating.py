"""Which earlier tokens each token of a continuation rests on, by microtome and by inseq."""

import numpy as np
import torch
from harness.work import Work

from sides import data
from sides.attributions import spread


def _ids(settings: dict) -> tuple:
    """Prompts [batch, length] and continuations [batch, new]."""
    both = data.tokens({**settings, "length": settings["length"] + settings["new"]})
    return both[:, : settings["length"]], both[:, settings["length"] :]


def microtome(settings: dict) -> Work:
    """`generation` by the gradient of each token's probability times the embedding."""
    from functools import partial

    from microtome import Subject
    from microtome.attribute import generation, gradient

    subject, (prompts, new) = Subject(data.load(settings)), _ids(settings)
    by = partial(gradient, at="transformer.wte", times="input")  # as the peer: the words alone, without their places

    def outputs(found) -> dict[str, np.ndarray]:
        maps = found.values.sum(-1).reshape(len(prompts), settings["new"], -1)
        return spread(maps[:, :, : settings["length"]])

    return Work(lambda: generation(subject, prompts, continuation=new, by=by, metric="probability"), outputs)


def inseq(settings: dict) -> Work:
    """`attribute` with "input_x_gradient" of the token's probability."""
    import inseq as peer

    prompts, new = _ids(settings)
    model = peer.load_model(data.load(settings), "input_x_gradient", tokenizer=_tokenizer(settings["vocabulary"]))
    asked = [_text(row) for row in prompts]
    told = [f"{start} {_text(row)}" for start, row in zip(asked, new)]

    def call():
        return model.attribute(asked, told, batch_size=len(asked), show_progress=False)

    def outputs(found) -> dict[str, np.ndarray]:
        maps = torch.stack([one.target_attributions.sum(-1) for one in found.sequence_attributions])
        return spread(maps[:, : settings["length"]].transpose(1, 2))

    return Work(call, outputs)


def _text(row) -> str:
    return " ".join(f"w{i}" for i in row.tolist())


def _tokenizer(vocabulary: int):
    """A word for every id, so that texts are the ids that are given to microtome."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(vocabulary)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", pad_token="w0", eos_token="w0", bos_token="w0")
