"""Continuations under a vector that is added to a site: how much they say of given words, and how fluent they stay."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import NonFinite, ShapeError, UsageError
from microtome.rng import torch_rng
from microtome.subject.edit import steer

#: Rows of one forward pass.
ROWS = 1024


@dataclass(frozen=True)
class Continued:
    """What was said.

    Attributes
    ----------
    said : ndarray [vectors, prompts, sets]
        Probability of the words of each set, mean over the steps.
    surprise : ndarray [vectors, prompts]
        Nats per token by which the unedited network is surprised: its cross-entropy under the steered predictions.
    repeats : ndarray [vectors, prompts]
        Share of the drawn tokens that repeat the token before.
    """

    said: np.ndarray
    surprise: np.ndarray
    repeats: np.ndarray


def continued(
    subject: Any, prompts: Tensor, site: str, vectors: Tensor, sets: Sequence[Sequence[int]], *, steps: int = 8,
    copies: int = 4, seed: int = 0,
) -> Continued:  # fmt: skip
    """Draw `steps` tokens after each prompt with each vector added at all positions of a site; means over `copies` draws.

    Draws of one prompt, copy and step share their noise between vectors (Gumbel), so vectors differ by what they do.

    Parameters
    ----------
    subject : Subject
        A causal language model.
    prompts : Tensor[n, length]
        Token ids, all of one length.
    site : str
        Where the vectors are added.
    vectors : Tensor[m, d]
    sets : sequence of sequences of int
        Token ids.

    Raises
    ------
    NonFinite
        When a prediction is NaN or infinite.
    """
    n, parts = len(prompts), []
    noise = torch.empty(0)  # the same draws for every vector
    for block in vectors.split(max(1, ROWS // (n * copies))):
        shape = (len(block), copies, n)
        ids, shift = prompts.repeat(len(block) * copies, 1), block.repeat_interleave(n * copies, 0)
        steered = []
        for step in range(steps):
            steered.append(_logs(subject.run(ids, edits=[steer(site, shift)], logits="last").logits[:, -1:])[:, 0])
            if not len(noise):
                uniform = torch.rand(
                    steps, copies * n, steered[0].shape[1], generator=torch_rng(seed, "decompose", "continued")
                )
                noise = -(-uniform.clamp(1e-7, 1 - 1e-7).log()).log()
            token = (steered[-1] + noise[step].repeat(len(block), 1)).argmax(1)
            ids = torch.cat([ids, token[:, None].to(ids)], 1)
        clean = _logs(subject.run(ids).logits)[:, -steps - 1 : -1]
        logs = torch.stack(steered, 1)
        said = torch.stack([logs[..., list(s)].exp().sum(-1).mean(1) for s in sets], -1)
        surprise = -(logs.exp() * clean).sum(-1).mean(1)
        again = (ids[:, -steps:] == ids[:, -steps - 1 : -1]).float().mean(1).cpu()
        parts.append([x.reshape(*shape, *x.shape[1:]).mean(1).double().numpy() for x in (said, surprise, again)])
    return Continued(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def _logs(logits: Tensor) -> Tensor:
    """Log-probabilities, on the CPU."""
    if not bool(torch.isfinite(logits).all()):
        raise NonFinite("a prediction is NaN or infinite: look at the weights, or steer less.")
    return logits.float().cpu().log_softmax(-1)


def prompt_ids(subject: Any, prompts: Any) -> Tensor:
    """Prompts as token ids [n, length]; refused where they differ in length."""
    inputs = subject.inputs(prompts)
    if inputs.ids is None:
        raise UsageError("prompts must be texts or token ids: the subject continues them word by word.")
    if inputs.mask is not None:
        raise ShapeError(f"prompts have {sorted(set(inputs.lengths.tolist()))} tokens; take those of one length.")
    return inputs.ids


def windows(found: Continued, plain: Continued, *, rise: float, budget: float, repeats: float = 0.5) -> np.ndarray:
    """Where the first set is said more, by `rise`, and fluency stays within its budget: bool [vectors, prompts].

    `plain` is one continuation without a vector; `budget` in nats per token above it, `repeats` in share of tokens above it.
    """
    more = found.said[..., 0] - plain.said[..., 0] >= rise
    fluent = (found.surprise - plain.surprise <= budget) & (found.repeats - plain.repeats <= repeats)
    return more & fluent
