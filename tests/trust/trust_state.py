"""Everything about a module and the process that work on it must leave as it was."""

import random

import numpy as np
import torch
from subject_slow import hooks_of

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")


def state_of(subject):
    """Tensors, flags, hooks, attributes, configs and global generators, comparable with ==."""
    module = subject.module
    return {
        "fingerprint": subject.fingerprint(),
        "hooks": hooks_of(module),
        "training": [m.training for m in module.modules()],
        "flags": [(n, p.requires_grad, p.grad is None) for n, p in module.named_parameters()],
        "buffers": [(n, b.data_ptr()) for n, b in module.named_buffers()],
        "attributes": [sorted(k for k in m.__dict__ if k not in HOOKS) for m in module.modules()],
        "attention": [getattr(getattr(m, "config", None), "_attn_implementation", None) for m in module.modules()],
        "grad": torch.is_grad_enabled(),
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),
        "python": random.getstate(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
    }
