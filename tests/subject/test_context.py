"""Edits that stay on: generation with a cache equals generation without one, and nothing is left behind."""

from dataclasses import replace

import pytest
import torch
from subject_slow import hooks_of, language, noise
from tiny import BY_NAME, PAD, VOCAB

from microtome.errors import EditTouchedNothing, UsageError
from microtome.subject.edit import ablate, freeze, scale, steer
from microtome.subject.subject import Subject

NAMES = ("gpt2", "gpt_neox", "llama", "mistral", "gemma2", "olmo2", "opt", "mamba")
STEPS = 4
OPTIONS = {"max_new_tokens": STEPS, "min_new_tokens": STEPS, "do_sample": False, "pad_token_id": PAD}


def by_hand(subject, inputs, edits, steps=STEPS):
    """Greedy generation without a cache: the whole sequence through `run` at each step."""
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    stop = subject.module.generation_config.eos_token_id
    for _ in range(steps):
        given = {"input_ids": ids} if mask is None else {"input_ids": ids, "attention_mask": mask}
        logits = subject.run(given, edits=edits).logits[:, -1].clone()
        if stop is not None:
            logits[:, stop] = -torch.inf
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)
        mask = None if mask is None else torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return ids


@pytest.mark.parametrize("pad", [None, "left"])
@pytest.mark.parametrize("name", NAMES)
def test_generation_with_a_cache_is_generation_without(name, pad):
    subject, inputs = language(name, pad)
    strong, seen = noise(32, seed=8) * 3, set()
    plain = by_hand(subject, inputs, [])
    for position in (None, 2, [0, 3]):
        for edit in (
            steer("blocks.1.resid_post", strong, position=position),
            steer("blocks.0.resid_post", strong, position=position),
        ):
            with subject.edit(edit):
                cached = subject.module.generate(**inputs, **OPTIONS)
            expected = by_hand(subject, inputs, [edit])
            assert torch.equal(cached, expected), (position, edit)
            seen.add(bool((expected != plain).any()))
    assert True in seen  # the edits did matter
    assert hooks_of(subject.module) == 0
    assert torch.equal(subject.module.generate(**inputs, **OPTIONS), plain)


@pytest.mark.parametrize("name", ["t5", "whisper"])
def test_towers_that_are_called_by_themselves(name):
    case = BY_NAME[name]
    if name == "t5":
        case = replace(case, options={**case.options, "num_decoder_layers": 2})
    subject = Subject(case.build())
    inputs = {k: v for k, v in case.inputs().items() if "decoder" not in k}
    options = {"max_new_tokens": 3, "do_sample": False}
    plain = subject.module.generate(**inputs, **options)
    width = subject.facts.d_model
    for site, position in (
        ("encoder.blocks.0.resid_post", 1),
        ("decoder.blocks.0.resid_post", 0),
        ("encoder.blocks.1.mlp.out", None),
    ):
        with subject.edit(scale(site, 1.0, position=position)):
            assert torch.equal(subject.module.generate(**inputs, **options), plain)
        with subject.edit(steer(site, 20 * noise(width), position=position)):
            subject.module.generate(**inputs, **options)
    assert hooks_of(subject.module) == 0


def test_a_context_is_a_run_with_the_same_edits():
    subject, inputs = language("llama", "right")
    edits = [steer("blocks.0.resid_post", noise(32), position=1), ablate("blocks.1.attn.z", head=1, how="zero")]
    expected = subject.run(inputs, edits=edits).logits
    with subject.edit(*edits):
        assert torch.equal(subject.run(inputs).logits, expected)
        with subject.edit(scale("blocks.0.resid_post", 1.0)):
            assert torch.equal(subject.run(inputs).logits, expected)
    assert hooks_of(subject.module) == 0


@pytest.mark.parametrize("when", ["inside", "edit", "user"])
def test_hooks_go_after_an_exception(when):
    subject, inputs = language("gpt2")
    before = subject.fingerprint(), subject.module.config._attn_implementation

    def fail(_):
        raise KeyboardInterrupt

    from microtome.subject.edit import replace_with

    edits = [freeze("blocks.0.attn.pattern", torch.zeros(3, 4, 7, 7))]
    edits += [replace_with("blocks.1.resid_post", fail)] if when == "edit" else []
    with pytest.raises((KeyboardInterrupt, RuntimeError)), subject.edit(*edits):  # noqa: PT012
        if when == "inside":
            subject.module(inputs_embeds=torch.zeros(3, 7, 31))
        elif when == "edit":
            subject.module(**inputs)
        else:
            raise RuntimeError("the user's own")
    assert hooks_of(subject.module) == 0
    assert before == (subject.fingerprint(), subject.module.config._attn_implementation)


def test_what_a_context_refuses():
    subject, inputs = language("gpt2")
    with pytest.raises(UsageError, match="no unedited run"), subject.edit(ablate("blocks.0.resid_post")):
        pass
    with pytest.raises(UsageError, match="Edit values"), subject.edit("blocks.0.resid_post"):
        pass
    with pytest.raises(EditTouchedNothing), subject.edit(scale("blocks.0.resid_post", 2.0)):
        pass
    with pytest.raises(EditTouchedNothing), subject.edit(scale("blocks.0.resid_post", 2.0), scale("embed", 2.0, position=40)):
        subject.module(**inputs)
    assert hooks_of(subject.module) == 0
    assert subject.facts.vocab == VOCAB
