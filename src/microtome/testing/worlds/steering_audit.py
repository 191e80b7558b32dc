"""Worlds of `steering_audit`: a bigram network in which a word calls for words of its theme, and a basis of the themes."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from microtome.errors import Degenerate, ShapeError, SubjectMismatch, UsageError
from microtome.method import Method
from microtome.rng import torch_rng
from microtome.subject.basis import Linear
from microtome.subject.recording import Recording
from microtome.subject.subject import Subject
from microtome.testing.case import Refusal, World

WORDS, THEME, WIDTH, SITE = 12, 4, 16, "embed"
NAMES = {"tea": range(THEME), "graves": range(THEME, 2 * THEME)}


class Bigrams(nn.Module):
    """The next word from the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.readout = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.readout(self.embed(input_ids))


def tiny(method: Method, seed: int) -> World:
    """The latent is the theme of the first four words."""
    return _world(seed, True)


def null(method: Method, seed: int) -> World:
    """Drawn weights: no themes."""
    return _world(seed, False)


def themes(seed: int, *, structured: bool = True) -> tuple[Subject, Recording, Linear, Tensor]:
    """Subject, recording, basis of three directions (two themes and another), prompts of words without a theme."""
    g = torch_rng(seed, "themes")
    d = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=g)).Q[:3]
    module = Bigrams().eval()
    theme = torch.arange(WORDS) // THEME
    noise = [0.1 * torch.randn(WORDS, WIDTH, generator=g) for _ in range(2)]
    with torch.no_grad():
        module.embed.weight.copy_((d[theme] + noise[0]) if structured else 3 * noise[0])
        module.readout.weight.copy_((2 * d[theme] + noise[1]) if structured else 4 * noise[1])
    if not structured:  # a direction without a meaning, turned so that it fires on the words at all
        d[0] *= module.embed.weight[:THEME].detach().mul(d[0]).sum(1).max().sign()
    subject = Subject(module, name="themes")
    ids = torch.randint(0, WORDS, (20, 6), generator=g)
    labels = {name: np.isin(ids.flatten().numpy(), list(words)) for name, words in NAMES.items()}
    x = subject.run(ids, record=[SITE], logits="none")[SITE].flatten(0, 1).clone()
    recording = Recording.of(x, site=SITE, index={"sample": np.repeat(np.arange(20), 6)}, labels=labels)
    prompts = torch.randint(2 * THEME, WORDS, (10, 3), generator=g)
    return subject, recording, Linear(SITE, d.T, d), prompts


def _world(seed: int, structured: bool) -> World:
    subject, recording, basis, prompts = themes(seed, structured=structured)
    given = {"subject": subject, "recording": recording, "basis": basis, "latent": 0, "prompts": prompts, "words": NAMES}
    return World(given)


def truth(method: Method, result: Any, world: World) -> float:
    """Share of the card that passes."""
    return float(result.table["passed"].mean())


def refusals(method: Method) -> list[Refusal]:
    """Latents, words and options that are not there, prompts of other lengths, a concept that is everywhere."""
    _, recording, _, _ = themes(0)
    everywhere = recording.add_labels({"tea": np.ones(len(recording), dtype=bool)})
    ragged = {"input_ids": torch.ones(2, 3, dtype=torch.long), "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]])}
    return [
        Refusal("a latent that is not there", {"latent": 9}, UsageError, r"0\.\.2"),
        Refusal("a misspelt concept", {"words": {"tee": [0]}}, UsageError, "tea"),
        Refusal("a concept without words", {"words": {"tea": []}}, UsageError, "token ids"),
        Refusal("a concept on all rows", {"recording": everywhere}, Degenerate, "tea"),
        Refusal("prompts of several lengths", {"prompts": ragged}, ShapeError, "one length"),
        Refusal("a strength of 0", {"strengths": (0.0,)}, UsageError, "strengths"),
        Refusal("no draws", {"draws": 0}, UsageError, "draws"),
        Refusal("a negative seed", {"seed": -1}, UsageError, "seed"),
    ]


def strangers(method: Method) -> list[Refusal]:
    """A basis of another site."""
    return [Refusal("a basis of another site", {"basis": Linear("readout", torch.eye(WIDTH))}, SubjectMismatch, "readout")]
