"""Activations in one kernel while thousands of edits are replayed.

transformers writes some activations as a chain of tensor operations, each a pass through memory: a tenth of a sweep. PyTorch
has the same function in one kernel, equal to rounding, so it serves where results are compared with full forwards anyway;
runs and recordings, which are bit-identical to the model, are left alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch.nn.functional as F
from torch import nn

#: Classes of transformers that compute 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
TANH_GELU = ("NewGELUActivation", "FastGELUActivation")


@contextmanager
def fused(module: nn.Module) -> Iterator[None]:
    """Within the context the known activations inside `module` run as one kernel; hooks on them work as before."""
    found = [m for m in module.modules() if type(m).__name__ in TANH_GELU and type(m).__module__ == "transformers.activations"]
    try:
        for activation in found:
            activation.forward = partial(F.gelu, approximate="tanh")  # on the instance: gone with `del`
        yield
    finally:
        for activation in found:
            vars(activation).pop("forward", None)
