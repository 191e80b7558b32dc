"""One small decoder for weights written by hand: GPT-2 module names, no layer norm, optional ReLU MLP.

    h_0     = wte[token] + wpe[position]
    h_{l+1} = h_l + sum_heads softmax(q k^T / sqrt(d_head)) v W_O  [ + fc_out relu(fc_in h) ]
    logits  = lm_head h_L

Everything that a circuit does can be read off the weights, because nothing rescales the residual stream.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import ShapeError


@dataclass(frozen=True)
class CompiledConfig:
    """Sizes of a `CompiledTransformer`, in Hugging Face's vocabulary."""

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    head_dim: int
    max_position_embeddings: int
    intermediate_size: int = 0
    """0: attention only."""
    model_type: str = "microtome_compiled"

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary, as written to config.json."""
        return asdict(self)


@dataclass
class Output:
    """What the forward pass returns."""

    logits: Tensor
    """[batch, position, vocab]"""


class Attention(nn.Module):
    """Causal multi-head attention without biases; `pattern` is a module so that the weights can be read and edited."""

    def __init__(self, config: CompiledConfig):
        super().__init__()
        width = config.num_attention_heads * config.head_dim
        self.heads, self.head_dim = config.num_attention_heads, config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.pattern = nn.Identity()
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)

    def forward(self, hidden_states: Tensor, visible: Tensor | None = None) -> Tensor:
        """`visible` bool [batch | 1, 1, query, key]: what may be attended to; default causal."""
        n, length, _ = hidden_states.shape
        split = (n, length, self.heads, self.head_dim)
        q = self.q_proj(hidden_states).view(split).transpose(1, 2)
        k = self.k_proj(hidden_states).view(split).transpose(1, 2)
        v = self.v_proj(hidden_states).view(split).transpose(1, 2)
        scores = q @ k.transpose(-1, -2) * self.head_dim**-0.5
        hidden = ~(causal(length, device=scores.device) if visible is None else visible)
        weights = self.pattern(scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(-1))
        return self.o_proj((weights @ v).transpose(1, 2).reshape(n, length, -1))


class MLP(nn.Module):
    """fc_out(relu(fc_in(x)))."""

    def __init__(self, config: CompiledConfig):
        super().__init__()
        self.fc_in = nn.Linear(config.hidden_size, config.intermediate_size)
        self.act = nn.ReLU()
        self.fc_out = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        return self.fc_out(self.act(self.fc_in(hidden_states)))


class Block(nn.Module):
    """Attention and, where the configuration has one, an MLP, each added to the residual stream."""

    def __init__(self, config: CompiledConfig):
        super().__init__()
        self.attn = Attention(config)
        self.mlp = MLP(config) if config.intermediate_size else None

    def forward(self, hidden_states: Tensor, visible: Tensor | None = None) -> Tensor:
        hidden_states = hidden_states + self.attn(hidden_states, visible)
        return hidden_states if self.mlp is None else hidden_states + self.mlp(hidden_states)


class Trunk(nn.Module):
    """Embeddings, blocks and the (empty) final norm: everything before the head."""

    def __init__(self, config: CompiledConfig):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.wpe = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.h = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.ln_f = nn.Identity()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Padding on either side gives what the unpadded rows give: positions count the unmasked tokens."""
        length = input_ids.shape[1]
        if length > self.wpe.num_embeddings:
            raise ShapeError(f"this model has {self.wpe.num_embeddings} positions; the input has {length} tokens.")
        visible = causal(length, device=input_ids.device)
        positions = torch.arange(length, device=input_ids.device)[None]
        if attention_mask is not None:
            keep = attention_mask.bool()
            positions = (keep.long().cumsum(1) - 1).clamp_min(0)
            visible = visible & keep[:, None, None, :]
        hidden_states = self.wte(input_ids) + self.wpe(positions)
        for block in self.h:
            hidden_states = block(hidden_states, visible)
        return self.ln_f(hidden_states)


class CompiledTransformer(nn.Module):
    """The decoder: `transformer.wte|wpe|h.{i}.attn.{q,k,v,o}_proj|h.{i}.mlp.fc_in|fc_out|ln_f`, `lm_head`."""

    def __init__(self, config: CompiledConfig):
        super().__init__()
        self.config = config
        self.transformer = Trunk(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        return Output(self.lm_head(self.transformer(input_ids, attention_mask)))


def causal(length: int, device: torch.device | None = None) -> Tensor:
    """bool [1, 1, query, key]: a position sees itself and what came before."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]
