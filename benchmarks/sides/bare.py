"""Plain PyTorch on the unmodified model: the floor, and what a careful user writes by hand."""

from contextlib import ExitStack

import numpy as np
import torch
from harness.work import Work

from sides import data


def record_residual(settings: dict) -> Work:
    """The trunk's forward (no head), one forward hook on each block that keeps its output."""
    model, ids = data.load(settings), data.tokens(settings)

    def call():
        kept = []
        with ExitStack() as stack, torch.no_grad():
            for block in model.transformer.h:
                hook = block.register_forward_hook(lambda _m, _a, out: kept.append(_first(out)))
                stack.callback(hook.remove)
            model.transformer(ids, use_cache=False)
        return kept

    return Work(call, data.blocks)


def sweep_layer_position(settings: dict) -> Work:
    """One full forward for each patch, logits at the last position only."""
    places = data.sampled(settings["length"], settings.get("sample"))
    indices = [(block, place) for block in range(data.BLOCKS) for place in places]

    def patch(model, clean, block, place):
        def hook(_module, args, kwargs):
            args, kwargs = list(args), dict(kwargs)
            x = (args[0] if args else kwargs["hidden_states"]).clone()
            x[:, place] = clean[block][:, place]
            if args:
                args[0] = x
            else:
                kwargs["hidden_states"] = x
            return tuple(args), kwargs

        return model.transformer.h[block].register_forward_pre_hook(hook, with_kwargs=True)

    return _sweep(settings, indices, (data.BLOCKS, settings["length"]), _block_inputs, patch)


def sweep_layer_head(settings: dict) -> Work:
    """One full forward for each head whose slice of the output projection's input is replaced at all positions."""
    indices = [(block, head) for block in range(data.BLOCKS) for head in range(data.HEADS)]

    def patch(model, clean, block, head):
        def hook(_module, args):
            x = args[0].clone()
            width = x.shape[-1] // data.HEADS
            part = slice(head * width, (head + 1) * width)
            x[..., part] = clean[block][..., part]
            return (x, *args[1:])

        return model.transformer.h[block].attn.c_proj.register_forward_pre_hook(hook)

    return _sweep(settings, indices, (data.BLOCKS, data.HEADS), _projection_inputs, patch)


def _sweep(settings, indices, shape, read, patch) -> Work:
    model = data.load(settings)
    clean_ids, ids = data.tokens(settings, 0), data.tokens(settings, 1)
    right, wrong = data.answers(settings)
    with torch.no_grad():
        clean = read(model, clean_ids)

    def call():
        values = torch.full(shape, float("nan"))
        with torch.no_grad():
            for index in indices:
                hook = patch(model, clean, *index)
                try:
                    logits = model(ids, use_cache=False, logits_to_keep=1).logits
                finally:
                    hook.remove()
                values[index] = data.mean_difference(logits, right, wrong)
        return values

    note = data.note(len(indices), int(np.prod(shape)))
    return Work(call, lambda values: {"effects": values.numpy()}, units=len(indices), note=note)


def _block_inputs(model, ids):
    return model(ids, use_cache=False, output_hidden_states=True).hidden_states[: data.BLOCKS]


def _projection_inputs(model, ids):
    kept = []
    with ExitStack() as stack:
        for block in model.transformer.h:
            hook = block.attn.c_proj.register_forward_pre_hook(lambda _m, args: kept.append(args[0].clone()))
            stack.callback(hook.remove)
        model(ids, use_cache=False, logits_to_keep=1)
    return kept


def _first(output):
    return output if isinstance(output, torch.Tensor) else output[0]
