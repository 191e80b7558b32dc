"""Embeddings that hold still, and the price on heads: what is drawn, what stays, what it costs."""

import pytest
import torch

from microtome.errors import UsageError
from microtome.organisms.fixed_embeddings import fix_embeddings
from microtome.organisms.small import decoder, fit_tokens
from microtome.organisms.sparse_heads import head_price
from microtome.rng import torch_rng


def plain(**options):
    return decoder(7, layers=2, width=16, heads=2, context=6, family="plain", **options)


def test_tokens_and_places_share_no_dimension_and_the_head_reads_tokens_only():
    model = plain()
    fix_embeddings(model, torch_rng(0, "x"), size=6)
    words, places = model.transformer.wte.weight, model.transformer.wpe.weight
    assert not words[:, 6:].any()
    assert not places[:, :6].any()
    torch.testing.assert_close(words.norm(dim=1), torch.full((7,), 6**0.5))
    assert torch.equal(model.lm_head.weight, words / 2)
    # A token is its own likeliest read-out: all have one length.
    assert torch.equal((words @ model.lm_head.weight.T).argmax(1), torch.arange(7))


def test_training_and_redrawing_leave_the_rest_as_it_was():
    model = plain(attention_only=True)
    redraw = fix_embeddings(model, torch_rng(0, "x"))
    before = [w.clone() for w in (model.transformer.wte.weight, model.transformer.wpe.weight)]
    ids = torch.tensor([[1, 2, 3]])
    fit_tokens(model, lambda step: (ids, ids), 3)
    assert torch.equal(model.transformer.wte.weight, before[0])
    assert torch.equal(model.transformer.wpe.weight, before[1])
    redraw(torch.tensor([2, 4]))
    changed = (model.transformer.wte.weight != before[0]).any(1)
    assert changed.tolist() == [False, False, True, False, True, False, False]
    assert torch.equal(model.transformer.wpe.weight, before[1])


def test_same_generator_same_embeddings_and_refusals():
    first, second = plain(), plain(seed=1)
    for model in (first, second):
        fix_embeddings(model, torch_rng(3, "x"))
    assert torch.equal(first.transformer.wte.weight, second.transformer.wte.weight)
    with pytest.raises(UsageError, match=r"1\.\.15"):
        fix_embeddings(plain(), torch_rng(0, "x"), size=16)
    with pytest.raises(UsageError, match="plain"):
        fix_embeddings(decoder(7, layers=1, width=16, heads=2, context=6, family="gpt2"), torch_rng(0, "x"))


def test_head_price_equals_a_loop_over_heads_oracle():
    model = plain()
    slow = 0.0
    for block in model.transformer.h:
        for h in range(2):
            v = block.attn.v_proj.weight[8 * h : 8 * h + 8].norm()
            o = block.attn.o_proj.weight[:, 8 * h : 8 * h + 8].norm()
            slow += ((1 + 10 * v * o).log() + (v + o) / 2).item()
    assert head_price(model).item() == pytest.approx(slow, rel=1e-5)
