"""Which optimiser steps what, and that the shared loop with the default one is plain AdamW on its schedule."""

import math

import pytest
import torch

from microtome.errors import UsageError
from microtome.organisms.fit import fit
from microtome.organisms.optimisers import adamw, muon
from microtome.organisms.small import decoder
from microtome.rng import torch_rng


def tiny(family="plain"):
    return decoder(5, layers=1, width=8, heads=2, context=6, family=family)


def loss_of(model):
    ids = torch.randint(0, 5, (4, 6), generator=torch_rng(0, "optimisers"))
    return lambda step: torch.nn.functional.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def held(made):
    return [[p for group in optimiser.param_groups for p in group["params"]] for optimiser, _ in made]


@pytest.mark.parametrize("make", [adamw, muon])
@pytest.mark.parametrize("family", ["plain", "llama"])
def test_every_parameter_is_stepped_by_exactly_one(make, family):
    model = tiny(family)
    assert sorted(id(p) for part in held(make(model)) for p in part) == sorted(id(p) for p in model.parameters())


def test_muon_takes_the_matrices_of_the_blocks():
    model = tiny()
    matrices = {id(p) for p in held(muon(model))[0]}
    assert matrices == {id(p) for n, p in model.named_parameters() if ".h." in n and n.endswith("weight")}


def test_frozen_embeddings_are_left_out_and_stay():
    model = decoder(5, layers=1, width=8, heads=2, context=6, family="plain", attention_only=True)
    fixed = [model.transformer.wte.weight, model.transformer.wpe.weight, model.lm_head.weight]
    before = [p.requires_grad_(False).clone() for p in fixed]
    assert [type(o).__name__ for o, _ in muon(model)] == ["Muon"]
    fit(model, loss_of(model), 3, optimisers=muon)
    assert all(torch.equal(a, b) for a, b in zip(before, fixed))


def test_a_network_without_blocks_is_refused():
    with pytest.raises(UsageError, match="no block"):
        muon(torch.nn.Linear(3, 2))


def test_the_default_is_adamw_with_warm_up_and_cosine():
    model, twin = tiny(), tiny()
    fit(model, loss_of(model), 30, lr=3e-3, final=0.1, warmup=5)
    optimiser = torch.optim.AdamW(twin.parameters(), lr=1.0, weight_decay=0.01, betas=(0.9, 0.98))
    for step in range(30):
        cosine = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / 30))
        optimiser.param_groups[0]["lr"] = 3e-3 * (min(1.0, (step + 1) / 5) * cosine)
        optimiser.zero_grad()
        loss_of(twin)(step).backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimiser.step()
    for a, b in zip(model.parameters(), twin.parameters()):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_muon_learns_and_moves_all_directions_of_a_matrix_alike():
    model = tiny()
    loss, start = loss_of(model), model.transformer.h[0].attn.q_proj.weight.detach().clone()
    before = float(loss(0).detach())
    fit(model, loss, 1, lr=1e-2, warmup=1, optimisers=muon)
    singular = torch.linalg.svdvals(model.transformer.h[0].attn.q_proj.weight.detach() - start)
    assert float(singular[0] / singular[3]) < 3
    fit(model, loss, 60, lr=1e-2, optimisers=muon)
    assert float(loss(0).detach()) < before - 0.2
