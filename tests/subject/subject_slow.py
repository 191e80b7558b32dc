"""Slow oracles and small subjects shared by the tests of runs, edits and sweeps."""

import torch
from tiny import BY_NAME, PAD
from torch import nn

from microtome.stimuli.metrics import logit_difference
from microtome.subject.bind import Metric
from microtome.subject.subject import Subject
from microtome.subject.tokens import pad_rows

LENGTHS = (7, 4, 5)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def rows(seed=3, lengths=LENGTHS):
    """Token rows of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 60, (k,), generator=generator).tolist() for k in lengths]


def language(name="llama", pad=None, lengths=LENGTHS):
    """A tiny language model with inputs: unpadded, or padded on one side."""
    subject = Subject(BY_NAME[name].build())
    if pad is None:
        return subject, subject.inputs(BY_NAME[name].inputs(rows=len(lengths), length=max(lengths)))
    return subject, pad_rows(rows(lengths=lengths), PAD, pad)


def convolutional():
    """A CNN whose activations work in place, and its images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 5, 3), nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4),
        )  # fmt: skip
    return Subject(module), noise(3, 3, 6, 6, seed=1)


def metric_for(inputs, stack="", vocab=60):
    """Logit difference at the last real token of each example."""
    n = len(inputs)
    generator = torch.Generator().manual_seed(7)
    answers = torch.randint(3, vocab, (n,), generator=generator)
    return Metric(logit_difference, answers, (answers + 1) % vocab, inputs.stack_frame(stack).stop - 1, "logit_difference")


def hooks_of(module):
    """Number of hooks on a module and its parts."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(m, k)) for m in module.modules() for k in kinds)
