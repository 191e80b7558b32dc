"""Small networks on which peers wrote reference attributions; plain torch, so that both environments can build them."""

import torch
from torch import Tensor, nn


def drawn(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in float64 and eval mode, every parameter and statistic drawn from one generator."""
    g = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for name, p in sorted([*module.named_parameters(), *module.named_buffers()]):
            if not p.is_floating_point():
                continue
            value = torch.randn(p.shape, generator=g, dtype=torch.float64)
            if name.endswith("running_var"):
                value = 0.5 + value.abs()
            elif p.ndim > 1:
                value = value / p[0].numel() ** 0.5
            else:
                value = 0.3 * value
            p.copy_(value)
    return module


def cnn() -> nn.Sequential:
    """Convolutions with batch norms, activations in place, both kinds of pool, a dense head of five classes.

    The norms' eps is tiny: those that zennit has merged still divide by sqrt(1 + eps), ours do not.
    """
    return drawn(nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6, eps=1e-12), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8, eps=1e-12), nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 5),
    ))  # fmt: skip


class Added(nn.Module):
    """A residual network; `total` adds up the two ways, default +."""

    def __init__(self, total: nn.Module | None = None):
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6, 5)
        self.one, self.two = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.act, self.inner, self.last, self.pool = nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        self.total = total

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        y = self.two(self.inner(self.one(x)))
        y = y + x if self.total is None else self.total(torch.stack([y, x], dim=-1))
        return self.head(self.pool(self.last(y)).flatten(1))


def plain_cnn(pool: type[nn.Module] = nn.MaxPool2d) -> nn.Sequential:
    """Without batch norms or anything in place: what captum takes."""
    return drawn(nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), pool(2), nn.Conv2d(6, 8, 3), nn.Tanh(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 5),
    ))  # fmt: skip


def grey_cnn() -> nn.Sequential:
    """One channel, smooth, for the peers' measures."""
    return drawn(nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(144, 5),
    ))  # fmt: skip


def table() -> nn.Sequential:
    """Six columns, smooth."""
    return drawn(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 5)), 2)


def rows() -> Tensor:
    """Rows [4, 6] of a table and another one [1, 6], stacked, float64."""
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def images(n: int = 4, size: int = 12) -> Tensor:
    """Pixels between 0 and 1, float64."""
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


TARGETS = torch.tensor([0, 3, 1, 4])


def decoder(family: str):
    """A tiny GPT-2 or LLaMA with drawn weights, eager attention."""
    import transformers as hf

    if family == "gpt2":
        config = hf.GPT2Config(vocab_size=13, n_positions=16, n_embd=16, n_layer=2, n_head=4)
        config._attn_implementation = "eager"
        return drawn(hf.GPT2LMHeadModel(config))
    config = hf.LlamaConfig(
        vocab_size=13, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=16,
    )  # fmt: skip
    config._attn_implementation = "eager"
    return drawn(hf.LlamaForCausalLM(config))


def ids() -> Tensor:
    return torch.randint(13, (4, 7), generator=torch.Generator().manual_seed(2))
