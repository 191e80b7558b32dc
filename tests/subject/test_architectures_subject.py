"""Every architecture through `Subject`: recording, editing, patterns, gradients, padding and generation."""

import pytest
import torch
from plain_hooks import LENGTH, call, run, sites_of, weight_of
from tiny import BY_NAME, PAD

from microtome.subject.architecture import submodule
from microtome.subject.edit import patch, replace_with
from microtome.subject.subject import Subject
from microtome.subject.tokens import pad_rows

each = pytest.mark.parametrize("name", BY_NAME)
PADDED = [n for n, case in BY_NAME.items() if case.kind in ("decoder", "encoder", "state")]
GENERATE = [n for n in BY_NAME if BY_NAME[n].kind in ("decoder", "state") and not n.startswith("compiled")]


@pytest.fixture(scope="module")
def subjects():
    """Subjects and their inputs by name, built once."""
    built = {}

    def get(name):
        if name not in built:
            built[name] = Subject(BY_NAME[name].build()), BY_NAME[name].inputs(length=LENGTH)
        return built[name]

    return get


@each
def test_wrapping_and_recording_leave_the_forward_bit_identical(subjects, name):
    bare = BY_NAME[name].build()
    subject, inputs = subjects(name)
    before = call(bare, inputs)
    names = [s.name for s in subject.sites() if s.at != "pattern"]
    recorded = subject.run(inputs, record=names)
    after = call(subject.module, inputs)
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert any(torch.equal(recorded.logits, v) for v in before.values())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in subject.module.modules())


@each
def test_records_are_what_plain_hooks_read(subjects, name):
    subject, inputs = subjects(name)
    sites = {k: s for k, s in sites_of(subject.trunks).items() if s.at != "pattern"}
    _, values = run(subject.module, inputs, sites.values())
    recorded = subject.run(inputs, record=list(sites))
    for site in sites.values():
        assert torch.equal(recorded[site.name], values[site.name]), site
        assert recorded[site.name].ndim == len(site.axes)


@each
def test_writing_back_what_was_read_changes_nothing(subjects, name):
    subject, inputs = subjects(name)
    names = [s.name for s in subject.sites() if s.at != "pattern"]
    plain = subject.run(inputs, record=names)
    again = subject.run(inputs, edits=[patch(n, plain[n]) for n in names])
    assert torch.equal(plain.logits, again.logits)
    assert all(again.touched)
    assert not any(again.changed)


@each
def test_patterns_are_read_and_edited(subjects, name):
    subject, inputs = subjects(name)
    names = [s.name for s in subject.sites("*.pattern")]
    if not names:
        pytest.skip("no attention")
    bases = [n.removesuffix("pattern") for n in names]
    plain = subject.run(inputs, record=[*names, *(f"{b}{leaf}" for b in bases for leaf in "vz")])
    for base in bases:
        pattern, v = plain[f"{base}pattern"], plain[f"{base}v"]
        torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:-1]))
        v = v.repeat_interleave(pattern.shape[1] // v.shape[2], dim=2)
        mixed = torch.einsum("bhqk,bkhd->bqhd", pattern, v)
        torch.testing.assert_close(mixed, plain[f"{base}z"], atol=1e-5, rtol=1e-5)
        uniform = torch.full_like(pattern, 1 / pattern.shape[-1])
        edited = subject.run(inputs, record=[f"{base}z"], edits=[patch(f"{base}pattern", uniform)])
        flat = v.mean(1, keepdim=True).expand_as(mixed)
        if base == bases[0]:
            torch.testing.assert_close(edited[f"{base}z"], flat, atol=1e-5, rtol=1e-5)
    same = subject.run(inputs, edits=[patch(n, plain[n]) for n in names])
    torch.testing.assert_close(same.logits, plain.logits, atol=1e-5, rtol=1e-5)


@each
def test_one_head_ablated_is_one_head_less_at_the_output(subjects, name):
    subject, inputs = subjects(name)
    for site in subject.sites("*.z"):
        base = site.name[:-1]
        out = f"{base}proj" if subject.sites(f"{base}proj") else f"{base}out"
        plain = subject.run(inputs, record=[site.name, out])
        new = plain[site.name].clone()
        new[:, :, 1] = 0
        less = subject.run(inputs, record=[out], edits=[patch(site.name, new)])
        weight, _ = weight_of(subject.module.get_submodule(site.module))
        removed = plain[site.name][:, :, 1] @ weight.unflatten(0, new.shape[2:])[1]
        torch.testing.assert_close(plain[out] - removed, less[out], atol=2e-5, rtol=1e-5)


@each
def test_a_patched_stream_brings_the_other_run(subjects, name):
    subject, inputs = subjects(name)
    other = BY_NAME[name].inputs(length=LENGTH, seed=2)
    for trunk in subject.trunks:
        key = list(inputs)[{"decoder": 1, "vision": 1}.get(trunk.stack.name, 0)]
        streams = [s for s in trunk.sites if "resid_" in s]
        there = subject.run({**inputs, key: other[key]}, record=streams)
        for site in streams[:-1]:
            got = subject.run(inputs, record=streams[-1:], edits=[patch(site, there[site])])
            assert torch.equal(got[streams[-1]], there[streams[-1]]), site


@each
def test_gradients_are_slopes(subjects, name):
    """The directional derivative at each site against a central difference (some norms compute in float32)."""
    _, inputs = subjects(name)
    module = BY_NAME[name].build().double()
    inputs = {k: v.double() if v.is_floating_point() else v for k, v in inputs.items()}
    subject = Subject(module)
    generator = torch.Generator().manual_seed(0)

    def metric(logits):
        return logits.double().flatten(1)[:, ::3].sum(1)

    names = [s.name for s in subject.sites() if s.at != "pattern" and (s.block in (None, 1))]
    _, grads = subject.gradients(inputs, names, metric)
    plain = subject.run(inputs, record=names)
    for n in names:
        direction = torch.randn(plain[n].shape, generator=generator, dtype=torch.double)
        direction /= direction.norm()
        step = 3e-3
        up, down = (
            metric(subject.run(inputs, edits=[patch(n, plain[n] + s * direction)]).logits).sum() for s in (step, -step)
        )
        slope, difference = (grads[n].double() * direction).sum(), (up - down) / (2 * step)
        torch.testing.assert_close(slope, difference, atol=1e-2, rtol=1e-2, msg=lambda m, n=n: f"{n}: {m}")


@pytest.mark.parametrize("name", PADDED)
@pytest.mark.parametrize("pad", ["right", "left"])
def test_padding_gives_what_single_examples_give(subjects, name, pad):
    subject, _ = subjects(name)
    if name == "clip_text":
        pytest.skip("CLIP's text tower pools at the end token of unpadded rows")
    generator = torch.Generator().manual_seed(4)
    rows = [torch.randint(3, 60, (k,), generator=generator).tolist() for k in (7, 3, 5)]
    watched = [s.name for s in subject.sites() if s.axes[:2] == ("batch", "position")]
    batch = subject.run(pad_rows(rows, PAD, pad), record=watched)
    for i, row in enumerate(rows):
        single = subject.run(pad_rows([row], PAD, pad), record=watched)
        place = slice(0, len(row)) if pad == "right" else slice(7 - len(row), 7)
        for n in watched:
            torch.testing.assert_close(
                batch[n][i, place], single[n][0], atol=2e-5, rtol=2e-5, msg=lambda m, n=n: f"{n}: {m}"
            )
        torch.testing.assert_close(batch.logits[i, place], single.logits[0], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("name", GENERATE)
def test_edits_that_change_nothing_leave_generation_as_it_was(subjects, name):
    subject, inputs = subjects(name)
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": PAD}
    plain = subject.module.generate(inputs["input_ids"], **options)
    names = [s.name for s in subject.sites("blocks.1.*") if s.at != "pattern"]
    with subject.edit(*(replace_with(n, torch.clone) for n in names)):
        edited = subject.module.generate(inputs["input_ids"], **options)
    assert torch.equal(plain, edited)


@each
def test_unembed_is_the_tail_of_the_model(subjects, name):
    subject, inputs = subjects(name)
    trunk = subject.trunks[-1]
    if not trunk.stack.head or submodule(subject.module, trunk.path(trunk.stack.head)) is None:
        pytest.skip("no head that reads one position")
    last = [s for s in trunk.sites if s.endswith("resid_post")][-1]
    plain = subject.run(inputs, record=[last])
    logits = subject.unembed(plain[last])
    logits = logits[:, 0] if plain.logits.ndim == 2 else logits
    torch.testing.assert_close(logits, plain.logits, atol=1e-5, rtol=1e-5)
