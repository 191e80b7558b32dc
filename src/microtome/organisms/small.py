"""Small networks made on the spot: decoders, perceptrons and image networks to train for one question.

The shipped organisms answer most questions. Where a paper speaks of a task of its own (mazes, multiple choice, brackets),
its replication trains one of these; none has a training loop of its own.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import UsageError
from microtome.organisms.fit import fit, seeded

IGNORED = -100
"""Target of a position at which nothing is asked."""


def decoder(
    words: int,
    *,
    layers: int = 2,
    heads: int = 4,
    width: int = 64,
    context: int = 64,
    family: str = "llama",
    attention_only: bool = False,
    seed: int = 0,
) -> Any:
    """An untrained causal language model over `words` token ids.

    Parameters
    ----------
    words : size of the vocabulary; inputs are ids, there is no tokenizer.
    family : "llama" (rotary positions, norms, gated MLP) or "gpt2" (learnt positions, norms, GELU MLP), as in
        transformers; "mamba" (gated state spaces with 8 states per channel, no heads); "plain" (learnt positions, no norms,
        no biases, ReLU MLP: every read-out is linear).
    attention_only : without MLPs; "plain" only.
    seed : of the initial weights; the global generator is left as it was.

    Examples
    --------
    >>> model = decoder(11, layers=1, width=16, heads=2, context=8, family="plain")
    >>> model(torch.zeros(3, 5, dtype=torch.long)).logits.shape
    torch.Size([3, 5, 11])
    """
    if attention_only and family != "plain":
        raise UsageError(f'attention_only needs family="plain"; {family!r} blocks always have an MLP.')
    if family == "plain":
        from microtome.organisms.compiled.model import CompiledConfig, CompiledTransformer

        hidden = 0 if attention_only else 4 * width
        plain = CompiledConfig(words, width, layers, heads, width // heads, context, hidden)
        return seeded(lambda: CompiledTransformer(plain), seed, "small plain").eval()
    import transformers as hf

    common = {"vocab_size": words, "pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    if family == "llama":
        config = hf.LlamaConfig(
            hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers, num_attention_heads=heads,
            max_position_embeddings=context, initializer_range=width**-0.5 / 2, **common,
        )  # fmt: skip
        return seeded(lambda: hf.LlamaForCausalLM(config), seed, "small llama").eval()
    if family == "gpt2":
        config = hf.GPT2Config(
            n_embd=width, n_layer=layers, n_head=heads, n_positions=context, resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0, **common,
        )  # fmt: skip
        return seeded(lambda: hf.GPT2LMHeadModel(config), seed, "small gpt2").eval()
    if family == "mamba":
        config = hf.MambaConfig(hidden_size=width, num_hidden_layers=layers, state_size=8, **common)
        return seeded(lambda: hf.MambaForCausalLM(config), seed, "small mamba").eval()
    raise UsageError(f'no family {family!r}; known: "llama", "gpt2", "mamba", "plain".')


def perceptron(sizes: Sequence[int], *, activation: Callable[[], nn.Module] = nn.ReLU, seed: int = 0) -> nn.Sequential:
    """Linear layers of `sizes` with an activation between them; module i is "0", "1", ... as in `nn.Sequential`.

    Examples
    --------
    >>> perceptron([4, 8, 2])(torch.zeros(1, 4)).shape
    torch.Size([1, 2])
    """

    def make() -> nn.Sequential:
        parts: list[nn.Module] = []
        for i in range(len(sizes) - 1):
            parts += [nn.Linear(sizes[i], sizes[i + 1]), activation()]
        return nn.Sequential(*parts[:-1])

    return seeded(make, seed, "small perceptron").eval()


def convnet(channels: Sequence[int], classes: int, *, seed: int = 0) -> nn.Sequential:
    """Convolutions of 3 x 3 with stride 2 and ReLU between `channels`, the mean over places, a linear head.

    Modules "0", "1", ... as in `nn.Sequential`: the map after convolution i is the output of module ``2 i + 1``.

    Examples
    --------
    >>> convnet([1, 4, 8], 2)(torch.zeros(3, 1, 32, 32)).shape
    torch.Size([3, 2])
    """

    def make() -> nn.Sequential:
        parts: list[nn.Module] = []
        for i in range(len(channels) - 1):
            parts += [nn.Conv2d(channels[i], channels[i + 1], 3, stride=2, padding=1), nn.ReLU()]
        return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], classes))

    return seeded(make, seed, "small convnet").eval()


def fit_tokens(
    model: nn.Module,
    batch: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    *,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
) -> None:
    """Train in place on next-token cross-entropy; `batch(step)` gives ids [b, t] and targets [b, t].

    Targets are the ids that should follow each position, `IGNORED` where nothing is asked. Schedule as in `fit`.
    """

    def loss(step: int) -> Tensor:
        ids, targets = batch(step)
        return nn.functional.cross_entropy(model(ids).logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)

    fit(model, loss, steps, lr=lr, weight_decay=weight_decay)


def fit_classes(
    model: nn.Module,
    batch: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    *,
    lr: float = 5e-3,
    weight_decay: float = 0.01,
) -> None:
    """Train in place on the cross-entropy of classes; `batch(step)` gives inputs [b, ...] and labels [b]. As `fit`."""

    def loss(step: int) -> Tensor:
        inputs, labels = batch(step)
        return nn.functional.cross_entropy(model(inputs), labels)

    fit(model, loss, steps, lr=lr, weight_decay=weight_decay)


@torch.no_grad()
def token_accuracy(model: nn.Module, ids: Tensor, targets: Tensor) -> float:
    """Share of the asked positions (targets not `IGNORED`) whose most likely token is the target."""
    asked = targets != IGNORED
    return float((model(ids).logits.argmax(-1)[asked] == targets[asked]).float().mean())
