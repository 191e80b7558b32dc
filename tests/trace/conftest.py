"""Subjects and tasks of the trace tests."""

import pytest
import torch

import microtome as mt
from microtome.stimuli.task import Task
from microtome.testing.planted_network import planted_network


@pytest.fixture(scope="session")
def ioi():
    return mt.load("organism:compiled-ioi")


@pytest.fixture(scope="session")
def task(ioi):
    return ioi.organism.examples(24, 1)


@pytest.fixture(scope="session")
def planted():
    """A GPT-2 with MLPs and noise in every weight."""
    return planted_network(0, n=8)


@pytest.fixture(scope="session")
def scm():
    """The linear causal model in double precision."""
    subject = mt.load("organism:compiled-scm")
    subject.module.double()
    return subject


@pytest.fixture(scope="session")
def treatment(scm):
    x = scm.organism.examples(10).inputs.double()
    answers = torch.zeros(10, dtype=torch.long)
    clean = x + torch.tensor([1.0, 0.0, 0.0])
    return Task("treatment", clean, x, answers, 1 - answers, kind="image", groups=list(range(10)))


@pytest.fixture(scope="session")
def grouped():
    """A tiny Llama with four query heads and two key-value heads, and a task of token ids."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=32, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, max_position_embeddings=16, bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    clean = torch.randint(0, 32, (6, 5), generator=generator)
    corrupt = torch.randint(0, 32, (6, 5), generator=generator)
    subject = mt.Subject(module, name="grouped")
    with torch.no_grad():
        answers = module(clean).logits[:, -1].argmax(-1)
    return subject, Task("likeliest", clean, corrupt, answers, (answers + 1) % 32, kind="tokens", groups=list(range(6)))
