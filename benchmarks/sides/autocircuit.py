"""auto-circuit: mask gradients over all edges, and circuits of many sizes."""

import numpy as np
import torch
from harness.work import Work

from sides import data, edges


def _model(settings: dict):
    """`HookedTransformer` with the weights as they are, made patchable; every output and input of a head by itself."""
    from auto_circuit.utils.graph_utils import patchable_model
    from transformer_lens import HookedTransformer, HookedTransformerConfig
    from transformer_lens.loading_from_pretrained import convert_gpt2_weights

    source = data.load(settings)
    c = source.config
    config = HookedTransformerConfig(
        n_layers=c.n_layer, d_model=c.n_embd, n_heads=c.n_head, d_head=c.n_embd // c.n_head, d_mlp=4 * c.n_embd,
        d_vocab=c.vocab_size, n_ctx=c.n_positions, act_fn="gelu_new", normalization_type="LN", eps=c.layer_norm_epsilon,
        device="cpu", dtype=torch.float32, use_attn_result=True, use_split_qkv_input=True, use_hook_mlp_in=True,
    )  # fmt: skip
    model = HookedTransformer(config)
    model.load_and_process_state_dict(
        convert_gpt2_weights(source, config), fold_ln=False, center_writing_weights=False, center_unembed=False,
        fold_value_biases=False,
    )  # fmt: skip
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad = False
    return patchable_model(model, factorized=True, slice_output="last_seq", separate_qkv=True, device=torch.device("cpu"))


def _batches(settings: dict):
    from auto_circuit.data import PromptPairBatch

    right, wrong = data.answers(settings)
    clean, corrupt = data.tokens(settings, 0), data.tokens(settings, 1)
    return [PromptPairBatch(0, 0, clean, corrupt, right[:, None], wrong[:, None])]


def _matrix(model, scores: dict) -> np.ndarray:
    """Scores by module as [senders, receivers], receivers in the order queries, keys, values, MLP of each block, logits."""
    senders = len(model.srcs)
    columns = []
    for block in range(data.BLOCKS):
        for kind in ("q_input", "k_input", "v_input", "mlp_in"):
            columns.append(scores[f"blocks.{block}.hook_{kind}"])
    columns.append(scores[f"blocks.{data.BLOCKS - 1}.hook_resid_post"])
    rows = [row for part in columns for row in part.reshape(-1, part.shape[-1])]
    return np.stack([np.pad(r.numpy(), (0, senders - len(r))) for r in rows], axis=1)


def eap_edges(settings: dict) -> Work:
    """`mask_gradient_prune_scores` with masks at 0, or averaged over steps."""
    from auto_circuit.prune_algos.mask_gradient import mask_gradient_prune_scores

    model, batches = _model(settings), _batches(settings)

    def call():
        for wrapper in model.dest_wrappers:
            wrapper.patch_mask.grad = None
        return mask_gradient_prune_scores(
            model, batches, None, grad_function="logit", answer_function="avg_diff",
            mask_val=None if settings.get("steps") else 0.0, integrated_grad_samples=settings.get("steps"),
        )  # fmt: skip

    def outputs(scores):
        found = _matrix(model, scores)
        return {"scores": found / np.abs(found).max()}

    return Work(call, outputs)


def circuit_evaluation(settings: dict) -> Work:
    """`run_circuits`: kept edges carry what the run computes, cut ones the corrupt values (tree patching)."""
    from auto_circuit.prune import run_circuits
    from auto_circuit.prune_algos.mask_gradient import mask_gradient_prune_scores
    from auto_circuit.types import PatchType

    model, batches = _model(settings), _batches(settings)
    scores = mask_gradient_prune_scores(model, batches, None, grad_function="logit", answer_function="avg_diff", mask_val=0.0)
    sizes = edges.places(edges.SIZES, sum(s.numel() for s in scores.values()))
    right, wrong = data.answers(settings)

    def call():
        return run_circuits(model, batches, sizes, scores, patch_type=PatchType.TREE_PATCH)

    def outputs(found):
        # Keys count the edges that are kept.
        return {"metric": np.array([
            float((v[0].gather(-1, right[:, None]) - v[0].gather(-1, wrong[:, None])).mean())
            for _, v in sorted(found.items())
        ])}  # fmt: skip

    return Work(call, outputs, units=len(sizes))
