"""How a state stores a sequence: tokens by magnitude (an onion) or in subspaces, as interventions and as readers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from microtome.rng import torch_rng

#: decode(states [m, d], tokens [m, length]) -> logits [m, length, vocab]: the network writes the sequence out, told at each
#: step the token before (teacher forcing), so that it is right throughout exactly where it would be if it ran freely.
Decode = Callable[[Tensor, Tensor], Tensor]


class Onion(nn.Module):
    """``h' = h + s_j (E[b] - E[a])``, ``s_j = g gamma^j + c_j``: one table for all positions, a position is a magnitude."""

    def __init__(self, tokens: Tensor, width: int, g: torch.Generator) -> None:
        super().__init__()
        length, words = tokens.shape[1], int(tokens.max()) + 1
        self.embed = nn.Parameter(0.1 * torch.randn(words, width, generator=g))
        self.size, self.ratio = nn.Parameter(torch.ones(width)), nn.Parameter(torch.full((width,), 0.7))
        self.more = nn.Parameter(torch.zeros(length, width))

    def scales(self) -> Tensor:
        """s [length, d]."""
        powers = torch.arange(len(self.more), device=self.more.device)[:, None]
        return self.size * self.ratio.abs().clamp_min(1e-6) ** powers + self.more

    def forward(self, x: Tensor, tokens: Tensor, base: Tensor, source: Tensor, place: Tensor) -> Tensor:
        old, new = (tokens[rows, place] for rows in (base, source))
        return x[base] + self.scales()[place] * (self.embed[new] - self.embed[old])


class Unigrams(nn.Module):
    """The part of the state in a learnt subspace of position j is that of the source; subspaces are orthogonal."""

    variables = 0

    def __init__(self, tokens: Tensor, width: int, g: torch.Generator) -> None:
        super().__init__()
        count = tokens.shape[1] - self.variables
        self.start: Tensor
        self.register_buffer("start", torch.linalg.qr(torch.randn(width, width, generator=g)).Q)
        self.turn = nn.Parameter(torch.zeros(width, width))
        self.owner: Tensor
        self.register_buffer("owner", torch.arange(width) * count // width)

    def swapped(self, x: Tensor, base: Tensor, source: Tensor, variable: Tensor) -> Tensor:
        """What is added to the base when it takes a variable from the source; nothing where the variable is -1."""
        turned = self.start @ torch.matrix_exp(self.turn - self.turn.T)
        mask = (self.owner == variable[:, None]).to(x)
        return ((x[source] - x[base]) @ turned * mask) @ turned.T

    def forward(self, x: Tensor, tokens: Tensor, base: Tensor, source: Tensor, place: Tensor) -> Tensor:
        return x[base] + self.swapped(x, base, source, place)


class Bigrams(Unigrams):
    """As `Unigrams`, with a subspace for each pair of neighbours: both pairs that hold the token are swapped."""

    variables = 1

    def forward(self, x: Tensor, tokens: Tensor, base: Tensor, source: Tensor, place: Tensor) -> Tensor:
        new, out = tokens[source, place], x[base]
        for variable, (first, second) in ((place - 1, (-1, 0)), (place, (0, 1))):
            there = (variable >= 0) & (variable < tokens.shape[1] - 1)
            at = variable.clamp(0, tokens.shape[1] - 2)
            left = new if first == 0 else tokens[base, at]
            right = new if second == 0 else tokens[base, at + 1]
            rows = having(tokens, at, left, right, source)
            out = out + self.swapped(x, base, rows.clamp_min(0), torch.where(there & (rows >= 0), variable, -1))
        return out


def having(tokens: Tensor, at: Tensor, left: Tensor, right: Tensor, start: Tensor) -> Tensor:
    """For each query the next row after `start` (round about) with tokens `left`, `right` at `at`, `at` + 1; -1 where none."""
    n = len(tokens)
    order = (start[:, None] + torch.arange(n, device=tokens.device)) % n
    fits = (tokens[order, at[:, None]] == left[:, None]) & (tokens[order, at[:, None] + 1] == right[:, None])
    first = fits.to(torch.uint8).argmax(1)
    return torch.where(fits.any(1), order.gather(1, first[:, None])[:, 0], -1)


def targets(tokens: Tensor, base: Tensor, source: Tensor, place: Tensor) -> Tensor:
    """The base's tokens with that of the source at `place`."""
    return tokens[base].scatter(1, place[:, None], tokens[source, place][:, None])


def draw(tokens: Tensor, n: int, g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Base rows, source rows and places."""
    rows = torch.randint(0, len(tokens), (2, n), generator=g).to(tokens.device)
    return rows[0], rows[1], torch.randint(0, tokens.shape[1], (n,), generator=g).to(tokens.device)


def fit_change(
    change: Any, x: Tensor, tokens: Tensor, decode: Decode, *, steps: int, batch: int, lr: float, seed: int = 0
) -> None:
    """Fit an intervention in place by cross-entropy to the counterfactual sequence; the network stays as it is."""
    wanted = list(change.parameters())
    optimiser = torch.optim.Adam(wanted, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    g = torch_rng(seed, "decompose", "onion")
    for _ in range(steps):
        base, source, place = draw(tokens, batch, g)
        goal = targets(tokens, base, source, place)
        with torch.enable_grad():
            logits = decode(change(x, tokens, base, source, place), goal)
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), goal.flatten())
            grads = torch.autograd.grad(loss, wanted)
        for p, grad in zip(wanted, grads, strict=True):
            p.grad = grad
        nn.utils.clip_grad_norm_(wanted, 1.0)
        optimiser.step()
        schedule.step()


@torch.no_grad()
def exact(states: Tensor, goal: Tensor, decode: Decode) -> Tensor:
    """Whether the whole sequence is written as asked: bool [m]."""
    return (decode(states, goal).argmax(-1) == goal).all(1)


def tables(x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """What each token at each position adds to the state, by least squares: mean [d], tables [length, vocab, d] (mean 0)."""
    words = int(tokens.max()) + 1
    onehot = nn.functional.one_hot(tokens, words).flatten(1).double()
    mean = x.double().mean(0)
    found = (torch.linalg.pinv(onehot - onehot.mean(0)) @ (x.double() - mean)).reshape(tokens.shape[1], words, -1)
    shift = torch.einsum("jv,jvd->jd", onehot.mean(0).reshape(tokens.shape[1], words), found)
    return mean, found - shift[:, None]


def peel(x: Tensor, mean: Tensor, written: Tensor) -> Tensor:
    """Read tokens from the outermost layer inwards: the nearest entry of its table is subtracted before the next is read.

    Parameters
    ----------
    x : Tensor[n, d]
    mean, written : Tensor[d], Tensor[length, vocab, d]
        As `tables` gives them; layers are read in the order of their size.

    Returns
    -------
    Tensor[n, length]
    """
    rest = x.double() - mean
    read = torch.zeros(len(x), len(written), dtype=torch.long, device=x.device)
    for j in written.square().sum((1, 2)).argsort(descending=True).tolist():
        read[:, j] = torch.cdist(rest, written[j]).argmin(1)
        rest = rest - written[j][read[:, j]]
    return read


def linear_read(x: Tensor, tokens: Tensor, on: Tensor) -> Tensor:
    """Tokens of `on` [m, d] by one least-squares reader per position, fitted on x [n, d] and tokens [n, length]."""
    words = int(tokens.max()) + 1
    design, asked = (torch.cat([t.double(), torch.ones(len(t), 1).to(t.device).double()], 1) for t in (x, on))
    weights = torch.linalg.pinv(design) @ nn.functional.one_hot(tokens, words).flatten(1).double()
    return (asked @ weights).reshape(len(on), tokens.shape[1], words).argmax(-1)
