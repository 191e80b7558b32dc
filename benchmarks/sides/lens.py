"""transformer-lens: `HookedTransformer` (its own network, converted weights) and `TransformerBridge` (wraps the model)."""

import pandas as pd
import torch
from harness.work import Work

from sides import data


def hooked(settings: dict):
    """`HookedTransformer` with the weights as they are: nothing folded or centred, so that activations are comparable."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights

    source = data.load(settings)
    c = source.config
    config = HookedTransformerConfig(
        n_layers=c.n_layer, d_model=c.n_embd, n_heads=c.n_head, d_head=c.n_embd // c.n_head, d_mlp=4 * c.n_embd,
        d_vocab=c.vocab_size, n_ctx=c.n_positions, act_fn="gelu_new", normalization_type="LN", eps=c.layer_norm_epsilon,
        device="cpu", dtype=torch.float32,
    )  # fmt: skip
    model = HookedTransformer(config)
    model.load_and_process_state_dict(
        convert_gpt2_weights(source, config), fold_ln=False, center_writing_weights=False, center_unembed=False,
        fold_value_biases=False,
    )  # fmt: skip
    return model.eval()


def bridge(settings: dict):
    """`TransformerBridge` around the unmodified model."""
    from transformer_lens.model_bridge import TransformerBridge

    return TransformerBridge.boot_transformers(settings["model"], device="cpu", hf_model=data.load(settings)).eval()


def record_residual_hooked(settings: dict) -> Work:
    """`run_with_cache` filtered to the residual stream, stopped before the final norm and the head."""
    return _record(hooked(settings), settings)


def record_residual_bridge(settings: dict) -> Work:
    """The same on the bridge."""
    return _record(bridge(settings), settings)


def _record(model, settings) -> Work:
    ids = data.tokens(settings)
    names = [f"blocks.{i}.hook_resid_post" for i in range(data.BLOCKS)]
    present = set(names)

    def call():
        with torch.no_grad():
            _, cache = model.run_with_cache(
                ids, names_filter=lambda name: name in present, return_type=None, stop_at_layer=data.BLOCKS
            )
        return cache

    return Work(call, lambda cache: data.blocks(cache[name] for name in names))


def sweep_layer_position(settings: dict) -> Work:
    """`patching.get_act_patch_resid_pre`, on evenly spaced positions where a sample is asked for."""
    from transformer_lens import patching

    places = data.sampled(settings["length"], settings.get("sample"))
    indices = [(layer, place) for layer in range(data.BLOCKS) for place in places]
    shape = (data.BLOCKS, settings["length"])
    return _sweep(settings, patching.get_act_patch_resid_pre, "resid_pre", ("layer", "pos"), indices, shape)


def sweep_layer_head(settings: dict) -> Work:
    """`patching.get_act_patch_attn_head_out_all_pos`."""
    from transformer_lens import patching

    indices = [(layer, head) for layer in range(data.BLOCKS) for head in range(data.HEADS)]
    shape = (data.BLOCKS, data.HEADS)
    sweep = patching.get_act_patch_attn_head_out_all_pos
    return _sweep(settings, sweep, "attn.hook_z", ("layer", "head"), indices, shape)


def _sweep(settings, sweep, site, columns, indices, shape) -> Work:
    model = bridge(settings) if settings.get("bridge") else hooked(settings)
    right, wrong = data.answers(settings)
    ids = data.tokens(settings, 1)
    with torch.no_grad():
        _, clean = model.run_with_cache(data.tokens(settings, 0), names_filter=lambda name: name.endswith(site))
    frame = pd.DataFrame(indices, columns=list(columns))

    def metric(logits):
        return data.mean_difference(logits, right, wrong)

    def call():
        with torch.no_grad():
            return sweep(model, ids, clean, metric, index_axis_names=None, index_df=frame)

    def outputs(flat):
        values = torch.full(shape, float("nan"))
        for index, value in zip(indices, flat):
            values[index] = value
        return {"effects": values.numpy()}

    total = shape[0] * shape[1]
    return Work(call, outputs, units=len(indices), note=data.note(len(indices), total))
