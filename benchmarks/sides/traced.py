"""nnsight: a trace of the unmodified model."""

from harness.work import Work

from sides import data


def record_residual(settings: dict) -> Work:
    """One trace that saves every block's output and stops after the last."""
    import torch
    from nnsight import NNsight

    model, ids = NNsight(data.load(settings)), data.tokens(settings)

    def call():
        with torch.no_grad(), model.trace(ids, use_cache=False) as tracer:
            kept = [block.output for block in model.transformer.h].save()
            tracer.stop()
        return kept

    def outputs(kept):
        return data.blocks(value if isinstance(value, torch.Tensor) else value[0] for value in kept)

    return Work(call, outputs)
