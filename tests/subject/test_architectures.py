"""Every architecture table, on a tiny random model of its architecture, with bare hooks.

The same tables through `Subject`: test_architectures_subject.py.
"""

from dataclasses import replace

import pytest
import torch
from plain_hooks import LENGTH, call, run, sites_of, weight_of
from tiny import BY_NAME

from microtome.subject.architecture import find, resolve, submodule

ATTENTION = ("q", "k", "v", "pattern", "z", "out")
IN_BLOCK = (
    *("resid_pre", "resid_mid", "resid_post", "attn.norm", "mlp.norm", "mlp.pre", "mlp.hidden", "mlp.out"),
    *(f"attn.{leaf}" for leaf in ATTENTION),
)
each = pytest.mark.parametrize("name", BY_NAME)


@pytest.fixture(scope="module")
def models():
    """Tiny models by name, built once, with eager attention so that patterns are returned."""
    built = {}

    def get(name):
        if name not in built:
            module = BY_NAME[name].build()
            if hasattr(module, "set_attn_implementation") and name != "mamba":
                module.set_attn_implementation("eager")
            built[name] = module, BY_NAME[name].inputs(length=LENGTH), resolve(find(module), module)
        return built[name]

    return get


@each
def test_canonical_sites_exist_or_say_why_not(models, name):
    module, _, trunks = models(name)
    architecture = find(module)
    assert architecture.name == BY_NAME[name].table
    assert len(trunks) == len(architecture.stacks)
    for trunk in trunks:
        label = f"{trunk.stack.name}." if trunk.stack.name else ""
        assert trunk.dims.blocks == len(module.get_submodule(trunk.blocks))
        for leaf in IN_BLOCK:
            there = [f"{label}blocks.{i}.{leaf}" in trunk.sites for i in range(trunk.dims.blocks)]
            assert all(there) or (not any(there) and architecture.absent[leaf]), leaf
        assert f"{label}embed" in trunk.sites
        assert f"{label}final_norm" in trunk.sites or architecture.absent["final_norm"]
        head = trunk.path(trunk.stack.head)
        if head and submodule(module, head) is not None:
            assert f"{label}logits" in trunk.sites


@each
def test_values_have_the_stated_axes_and_shapes(models, name):
    module, inputs, trunks = models(name)
    _, values = run(module, inputs, sites_of(trunks).values())
    for site in sites_of(trunks).values():
        value = values[site.name]
        assert len(site.axes) == value.ndim, site
        assert value.shape[0] == 3
        if site.name.endswith("pattern"):
            assert (value.shape[1],) == site.shape
        elif site.shape:
            assert tuple(value.shape[-len(site.shape) :]) == site.shape, site
        if "position" in site.axes and site.stack in ("", "decoder", "text") and "input_ids" in inputs:
            assert value.shape[site.axes.index("position")] == LENGTH
        assert site.block is None or f"blocks.{site.block}." in site.name


@each
def test_writing_back_what_was_read_changes_nothing(models, name):
    module, inputs, trunks = models(name)
    plain = call(module, inputs)
    sites = [s for s in sites_of(trunks).values() if s.at != "pattern"]
    written, _ = run(module, inputs, write=dict.fromkeys(sites, torch.clone))
    assert plain.keys() == written.keys()
    assert all(torch.equal(plain[k], written[k]) for k in plain)


@each
def test_every_site_is_live_and_reads_back_what_was_written(models, name):
    module, inputs, trunks = models(name)
    plain = call(module, inputs)
    for site in sites_of(trunks).values():
        if site.at == "pattern":
            continue
        sent = []

        def change(value, sent=sent):
            sent.append(value + torch.linspace(-1, 1, value.shape[-1]))
            return sent[0]

        written, values = run(module, inputs, write={site: change, _twin(site): lambda v, sent=sent: sent.append(v)})
        assert torch.equal(sent[0], sent[1]), site
        assert not all(torch.equal(plain[k], written[k]) for k in plain), f"{site} does not reach the output"
        assert not values


def _twin(site):
    """An equal site that is another key of the mapping of writes: its hook runs after the first one's."""
    return replace(site, name=f"{site.name} again")


@each
def test_heads_through_the_output_projection_sum_to_the_sublayer(models, name):
    module, inputs, trunks = models(name)
    sites = sites_of(trunks)
    _, values = run(module, inputs, sites.values())
    checked = 0
    for site in sites.values():
        if not site.name.endswith((".attn.z", ".cross.z")):
            continue
        base = site.name[:-2]
        weight, bias = weight_of(module.get_submodule(site.module))
        z = values[site.name]
        heads = torch.einsum("bphd,hdo->bpho", z, weight.unflatten(0, z.shape[2:]))
        target = values.get(f"{base}.proj", values[f"{base}.out"])
        torch.testing.assert_close(heads.sum(2) + bias, target, atol=2e-5, rtol=1e-5)
        checked += 1
    assert checked or name == "mamba"


@each
def test_patterns_sum_to_one_and_mix_the_values(models, name):
    module, inputs, trunks = models(name)
    sites = sites_of(trunks)
    _, values = run(module, inputs, sites.values())
    for site in sites.values():
        if not site.name.endswith(".pattern"):
            continue
        pattern, base = values[site.name], site.name.removesuffix(".pattern")
        torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:-1]))
        v = values[f"{base}.v"]
        v = v.repeat_interleave(pattern.shape[1] // v.shape[2], dim=2)
        torch.testing.assert_close(
            torch.einsum("bhqk,bkhd->bqhd", pattern, v), values[f"{base}.z"], atol=1e-5, rtol=1e-5
        )


@each
def test_residual_identities(models, name):
    module, inputs, trunks = models(name)
    _, values = run(module, inputs, sites_of(trunks).values())
    close = {"atol": 1e-5, "rtol": 1e-5}
    for trunk in trunks:
        label = f"{trunk.stack.name}." if trunk.stack.name else ""
        stream = values[f"{label}embed"]
        for i in range(trunk.dims.blocks):
            v = {k.removeprefix(f"{label}blocks.{i}."): t for k, t in values.items()}
            assert torch.equal(v["resid_pre"], stream), "a block reads what the one before it wrote"
            stream = v["resid_post"]
            if trunk.residual == "none":
                torch.testing.assert_close(v["resid_pre"] + v["mixer.out"], stream, **close)
                continue
            middle = v["resid_pre"] + v["attn.out"]
            if trunk.residual == "parallel":
                torch.testing.assert_close(middle + v.get("mlp.out", 0), stream, **close)
                continue
            if trunk.residual == "cross":
                torch.testing.assert_close(middle, v["resid_cross"], **close)
                middle = v["resid_cross"] + v["cross.out"]
            after = v["resid_mid"] + v["mlp.out"]
            if trunk.residual == "post":
                block = module.get_submodule(f"{trunk.blocks}.{i}")
                opt = hasattr(block, "self_attn_layer_norm")
                first = block.self_attn_layer_norm if opt else block.attention.output.LayerNorm
                second = block.final_layer_norm if opt else block.output.LayerNorm
                middle, after = first(middle), second(after)
            torch.testing.assert_close(middle, v["resid_mid"], **close)
            torch.testing.assert_close(after, stream, **close)


@each
def test_the_stream_of_another_run_brings_its_future(models, name):
    """The blocks after a stream site see nothing but the stream: writing run B's there gives B's last resid_post."""
    module, inputs, trunks = models(name)
    other = BY_NAME[name].inputs(length=LENGTH, seed=2)
    for trunk in trunks:
        mine = {"encoder": 0, "decoder": 1, "text": 0, "vision": 1}.get(trunk.stack.name, 0)
        key = list(inputs)[mine]
        there = {**inputs, key: other[key]}
        last = [s for s in trunk.sites.values() if s.name.endswith("resid_post")][-1]
        streams = [s for s in trunk.sites.values() if "resid_" in s.name or s.name.endswith("embed")]
        _, values = run(module, there, [*streams, last])
        for site in streams:
            _, got = run(module, inputs, [last], {site: lambda _, new=values[site.name]: new.clone()})
            if site is not last:
                assert torch.equal(got[last.name], values[last.name]), site


@each
def test_the_tail_gives_the_logits(models, name):
    module, inputs, trunks = models(name)
    trunk = trunks[-1]
    head = submodule(module, trunk.path(trunk.stack.head)) if trunk.stack.head else None
    if head is None:
        pytest.skip("this model has no head that reads one position")
    last = [s for s in trunk.sites.values() if s.name.endswith("resid_post")][-1]
    output, values = run(module, inputs, [last])
    x = values[last.name]
    norm = submodule(module, trunk.path(trunk.stack.final_norm)) if trunk.stack.final_norm else None
    with torch.no_grad():
        x = norm(x) if norm is not None else x
        logits = head(x * trunk.stack.scale(module.config) if trunk.stack.scale else x)
    cap = getattr(module.config, trunk.stack.cap, None) if trunk.stack.cap else None
    logits = cap * torch.tanh(logits / cap) if cap else logits
    expected = output["logits"]
    torch.testing.assert_close(logits[:, 0] if expected.ndim == 2 else logits, expected, atol=1e-5, rtol=1e-5)


@each
def test_causal_is_what_it_says(models, name):
    module, inputs, trunks = models(name)
    for trunk in trunks:
        key = {"encoder": 0, "decoder": 1, "text": 0, "vision": 1}.get(trunk.stack.name, 0)
        key = list(inputs)[key]
        changed = {**inputs, key: inputs[key].clone()}
        changed[key][..., -1] = 5
        site = [s for s in trunk.sites.values() if s.name.endswith("resid_post")][-1]
        one, two = (run(module, x, [site])[1][site.name] for x in (inputs, changed))
        assert torch.equal(one[:, :-2], two[:, :-2]) == trunk.stack.causal


@each
def test_hidden_units_are_the_activation_of_pre(models, name):
    from transformers.activations import ACT2FN

    module, inputs, trunks = models(name)
    _, values = run(module, inputs, sites_of(trunks).values())
    for trunk in trunks:
        config = getattr(module.config, f"{trunk.stack.name or 'text'}_config", module.config)
        names = ("dense_act_fn", "hidden_activation", "hidden_act", "activation_function")
        own = {"dinov2_gated": "silu", "compiled": "relu", "compiled_attention": "relu"}  # not in their configs
        act = ACT2FN[own.get(name) or next(v for n in names if (v := getattr(config, n, "")))]
        for site in trunk.sites:
            if site.endswith("mlp.hidden"):
                base = site.removesuffix("hidden")
                expected = act(values[f"{base}pre"])
                expected = expected * values[f"{base}up"] if f"{base}up" in values else expected
                torch.testing.assert_close(values[site], expected, atol=1e-6, rtol=1e-5)
