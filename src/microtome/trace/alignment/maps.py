"""Alignment maps that are fitted: one small class for each, behind `AlignmentMap`.

A map gives coordinates to a site. For variables j with masks m_j over coordinates, an interchange is

    z' = z(base) + sum_j m_j * (z(source_j) - z(base)),   h' = h + decode(z') - decode(z(base)).
"""

from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import UsageError
from microtome.rng import torch_rng


class AlignmentMap(nn.Module):
    """What the fit asks of a map.

    Attributes
    ----------
    sizes : dict of variable -> int
        Coordinates given to each variable, in order; maps that learn them start from these.
    """

    def __init__(self, width: int, sizes: dict[str, int]) -> None:
        super().__init__()
        self.width, self.sizes = width, sizes

    def interchange(self, base: Tensor, sources: list[Tensor], chosen: Tensor) -> Tensor:
        """New values [b, ..., d]: the chosen variables' coordinates (`chosen` [b, variables]) come from their sources."""
        raise NotImplementedError

    def penalty(self) -> Tensor | float:
        """Added to the loss."""
        return 0.0

    def anneal(self, share: float) -> None:
        """Told before each update which share of the training is done."""

    def before_step(self) -> None:
        """After the gradients, before the update."""

    def after_step(self) -> None:
        """After the update: back onto the manifold."""

    def groups(self, lr: float) -> list[dict[str, Any]]:
        """Parameters with their rates."""
        return [{"params": list(self.parameters()), "lr": lr}]

    def parts(self) -> dict[str, Any]:
        """What the fitted basis is made of: encoder, decoder, blocks (hard); the last with lists of coordinates."""
        raise NotImplementedError


def blocks_of(sizes: dict[str, int]) -> dict[str, list[int]]:
    """Consecutive coordinates for each variable."""
    ends = torch.tensor(list(sizes.values())).cumsum(0).tolist()
    return {v: list(range(end - k, end)) for (v, k), end in zip(sizes.items(), ends)}


def spread(difference: Tensor, chosen: Tensor) -> Tensor:
    """Differences of a variable's source from the base, zero where it is not chosen."""
    return difference * chosen.reshape(-1, *[1] * (difference.ndim - 1)).to(difference.dtype)


def orthonormal(width: int, count: int, seed: int, *names: str | int) -> Tensor:
    """Random orthonormal columns [width, count]."""
    draw = torch.randn(width, count, generator=torch_rng(seed, "alignment", *names))
    return torch.linalg.qr(draw)[0].contiguous()


class Rotation(AlignmentMap):
    """Orthonormal columns W [d, K], blocks of them for each variable: ``h' = h + sum_j (s_j - h) W_j W_j^T``.

    The other d - K coordinates of a full rotation keep the base's values whatever they are, so they need not be there.
    W is a point of the Stiefel manifold: gradients are projected on its tangent space, updates are retracted by QR. Kept in
    float32 or wider.
    """

    def __init__(self, width: int, sizes: dict[str, int], seed: int = 0) -> None:
        super().__init__(width, sizes)
        count = sum(sizes.values())
        if count > width:
            raise UsageError(f"{count} coordinates ({sizes}) do not fit into a site of width {width}. Use a smaller size.")
        self.weight = nn.Parameter(orthonormal(width, count, seed, "rotation"))
        self.blocks = blocks_of(sizes)

    def interchange(self, base: Tensor, sources: list[Tensor], chosen: Tensor) -> Tensor:
        moved = []
        for j, (source, block) in enumerate(zip(sources, self.blocks.values())):
            moved.append(spread(source - base, chosen[:, j]) @ self.weight[:, block[0] : block[-1] + 1])
        return base + torch.cat(moved, -1) @ self.weight.T

    @torch.no_grad()
    def before_step(self) -> None:
        if self.weight.grad is not None:
            inner = self.weight.T @ self.weight.grad
            self.weight.grad -= self.weight @ ((inner + inner.T) / 2)

    @torch.no_grad()
    def after_step(self) -> None:
        q, r = torch.linalg.qr(self.weight)
        self.weight.copy_(q * r.diagonal().sign())

    def parts(self) -> dict[str, Any]:
        w = self.weight.detach()
        return {"encoder": w.contiguous(), "decoder": w.T.contiguous(), "blocks": self.blocks}


class Boundless(Rotation):
    """A full rotation with learned block widths: ``m_i = sigmoid((i + 1/2 - l) / T) sigmoid((r - i - 1/2) / T)``.

    The temperature T is lowered linearly from `hot` to 0.1 coordinates; the fitted basis takes the coordinates whose centre
    lies between the boundaries. It is a number, not a parameter.
    """

    def __init__(self, width: int, variables: list[str], penalty: float, seed: int = 0) -> None:
        share = width // len(variables)
        super().__init__(width, dict.fromkeys(variables, share), seed)
        self.weight = nn.Parameter(orthonormal(width, width, seed, "rotation"))
        self.share = nn.Parameter(torch.full((len(variables),), 0.5 / len(variables)))
        self.weight_of_width, self.hot, self.temperature = penalty, width / 16, width / 16
        self.register_buffer("place", torch.arange(width) + 0.5, persistent=False)

    def edges(self) -> tuple[Tensor, Tensor]:
        """Left and right boundaries [variables], in coordinates; the first block begins at 0."""
        share = self.share.clamp(1e-3, 1.0)
        right = share.cumsum(0) * self.width
        return right - share * self.width, right

    def masks(self) -> Tensor:
        """Soft masks [variables, d]."""
        left, right = (e[:, None] for e in self.edges())
        place = self.place.to(left)
        return torch.sigmoid((place - left) / self.temperature) * torch.sigmoid((right - place) / self.temperature)

    def interchange(self, base: Tensor, sources: list[Tensor], chosen: Tensor) -> Tensor:
        masks = self.masks()
        moved = sum(masks[j] * (spread(s - base, chosen[:, j]) @ self.weight) for j, s in enumerate(sources))
        return base + moved @ self.weight.T  # type: ignore[operator]

    def penalty(self) -> Tensor:
        return self.weight_of_width * self.share.clamp(1e-3, 1.0).sum()

    def anneal(self, share: float) -> None:
        self.temperature = self.hot + (0.1 - self.hot) * min(1.0, share)

    @torch.no_grad()
    def after_step(self) -> None:
        super().after_step()
        self.share.clamp_(1e-3, 1.0)
        self.share.div_(self.share.sum().clamp(min=1.0))

    def groups(self, lr: float) -> list[dict[str, Any]]:
        return [{"params": [self.weight], "lr": lr}, {"params": [self.share], "lr": 10 * lr}]

    @torch.no_grad()
    def parts(self) -> dict[str, Any]:
        left, right = self.edges()
        kept = {v: ((self.place > l) & (self.place < r)).nonzero().flatten() for v, l, r in zip(self.sizes, left, right)}
        kept = {v: k if len(k) else self.place.new_tensor([int(l)]).long() for (v, k), l in zip(kept.items(), left)}
        w = self.weight[:, torch.cat(list(kept.values()))].detach()
        blocks = blocks_of({v: len(k) for v, k in kept.items()})
        return {"encoder": w.contiguous(), "decoder": w.T.contiguous(), "blocks": blocks}


class Masks(AlignmentMap):
    """Coordinates of a given frame chosen by learned masks ``sigmoid(w / T)``, hard (w > 0) in the fitted basis (DBM).

    The frame is `encoder` [d, m] and `decoder` [m, d]: the neurons, principal components, a dictionary without bias.
    """

    def __init__(self, variables: list[str], encoder: Tensor, decoder: Tensor, penalty: float) -> None:
        super().__init__(len(encoder), dict.fromkeys(variables, encoder.shape[1]))
        self.logit = nn.Parameter(torch.zeros(len(variables), encoder.shape[1]))
        self.register_buffer("encoder", encoder.float(), persistent=False)
        self.register_buffer("decoder", decoder.float(), persistent=False)
        self.weight_of_mask, self.temperature = penalty, 1.0

    def interchange(self, base: Tensor, sources: list[Tensor], chosen: Tensor) -> Tensor:
        masks = torch.sigmoid(self.logit / self.temperature)
        moved = sum(m * (spread(s - base, chosen[:, j]) @ self.encoder) for j, (m, s) in enumerate(zip(masks, sources)))
        return base + moved @ self.decoder  # type: ignore[operator]

    def penalty(self) -> Tensor:
        return self.weight_of_mask * torch.sigmoid(self.logit / self.temperature).mean(1).sum()

    def anneal(self, share: float) -> None:
        self.temperature = 1.0 + (0.01 - 1.0) * min(1.0, share)

    def groups(self, lr: float) -> list[dict[str, Any]]:
        return [{"params": [self.logit], "lr": 10 * lr}]

    @torch.no_grad()
    def parts(self) -> dict[str, Any]:
        blocks = {v: (row > 0).nonzero().flatten() for v, row in zip(self.sizes, self.logit)}
        blocks = {v: (b if len(b) else self.logit[j].argmax()[None]).tolist() for j, (v, b) in enumerate(blocks.items())}
        return {"encoder": self.encoder, "decoder": self.decoder, "blocks": blocks}
