"""Attribution graphs through fixed random transcoders: microtome, and the method that repeats the prompt per target."""

import numpy as np
import torch
from harness.work import Work
from torch import Tensor, nn

from sides import data

WIDTH = 384


def coders(settings: dict) -> list[dict[str, Tensor]]:
    """One random top-k transcoder per MLP."""
    draw = np.random.default_rng(11)
    latents = settings["latents"]
    shapes = {"W_enc": (WIDTH, latents), "W_dec": (latents, WIDTH)}
    parts = [
        {k: draw.standard_normal(s, dtype=np.float32) / s[0] ** 0.5 for k, s in shapes.items()} for _ in range(data.BLOCKS)
    ]
    return [{k: torch.from_numpy(v) for k, v in p.items()} for p in parts]


def codes(x: Tensor, part: dict[str, Tensor], k: int) -> Tensor:
    """The k largest positive latents of each position."""
    values, index = (x @ part["W_enc"]).topk(k, dim=-1)
    return torch.zeros(len(x), part["W_enc"].shape[1]).scatter(-1, index, values.relu())


def spread(found: list[Tensor], targets: int) -> list[tuple[int, Tensor, Tensor]]:
    """Block, positions and latents of `targets` active latents, the same for every side."""
    active = torch.cat([torch.cat([torch.full((len(a), 1), i), a], 1) for i, a in enumerate(z.nonzero() for z in found)])
    chosen = active[torch.tensor(data.sampled(len(active), targets))]
    return [(i, part[:, 1], part[:, 2]) for i in range(len(found)) for part in [chosen[chosen[:, 0] == i]] if len(part)]


def microtome(settings: dict) -> Work:
    """One forward of one row; rows by batched vector-Jacobian products."""
    from microtome import Subject
    from microtome.decompose.transcoding import Transcoder
    from microtome.trace.frozen import frozen
    from microtome.trace.rows import Seeds, Sources
    from microtome.trace.stations import stations

    subject, parts, ids = Subject(data.load(settings)), coders(settings), data.tokens(settings, rows=1)
    bases = [
        Transcoder(
            f"blocks.{i}.mlp.norm", writes=f"blocks.{i}.mlp.out", b_enc=torch.zeros(settings["latents"]),
            b_dec=torch.zeros(WIDTH), activation="topk", k=settings["k"], **part,
        )
        for i, part in enumerate(parts)
    ]  # fmt: skip
    places = stations(subject, bases)

    def call() -> Tensor:
        net = frozen(subject, subject.inputs(ids), places)
        found = [torch.zeros(net.length, settings["latents"]).index_put((c.position, c.index), c.value)
                 for c in (net.codes[s.reads] for s in places)]  # fmt: skip
        seeds = [Seeds(places[i].reads, at, parts[i]["W_enc"][:, u].T) for i, at, u in spread(found, settings["targets"])]
        sources = Sources(net)
        rows = torch.cat([r for _, r in sources.rows(seeds, 2**28)])
        features = torch.cat([torch.arange(s.start, s.stop) for (kind, _), s in sources.spans.items() if kind == "feature"])
        return rows[:, features]

    return Work(call, _outputs, units=1.0)


def repeated(settings: dict) -> Work:
    """circuit-tracer's method: the prompt repeated once per target of a batch, one forward, a backward per batch."""
    model, parts, ids = data.load(settings), coders(settings), data.tokens(settings, rows=1)
    for p in model.parameters():
        p.requires_grad_(False)
    width = settings["targets"] if settings["repeat"] == 0 else settings["repeat"]

    def call() -> Tensor:
        reads, leaves, handles = [], [], []
        for block in model.transformer.h:
            handles += [block.ln_1.register_forward_hook(_norm), block.ln_2.register_forward_hook(_norm)]
            handles.append(block.attn.c_attn.register_forward_hook(_queries))
            handles.append(block.ln_2.register_forward_hook(lambda _m, _a, out: reads.append(out)))
            handles.append(block.mlp.register_forward_hook(lambda _m, _a, out: _leaf(leaves, out)))
        handles.append(model.transformer.ln_f.register_forward_hook(_norm))
        handles.append(model.transformer.wte.register_forward_hook(lambda _m, _a, out: out.detach().requires_grad_(True)))
        with torch.enable_grad():
            model(ids.expand(width, -1), use_cache=False)
        for handle in handles:
            handle.remove()
        found = [codes(r[0].detach(), p, settings["k"]) for r, p in zip(reads, parts)]
        active = [z.nonzero() for z in found]
        written = [z[a[:, 0], a[:, 1], None] * p["W_dec"][a[:, 1]] for z, a, p in zip(found, active, parts)]
        targets = [(i, int(t), int(u)) for i, at, us in spread(found, settings["targets"]) for t, u in zip(at, us)]
        rows = []
        for first in range(0, len(targets), width):
            part = targets[first : first + width]
            given = [torch.zeros_like(r) for r in reads]
            for row, (i, at, u) in enumerate(part):
                given[i][row, at] = parts[i]["W_enc"][:, u]
            grads = torch.autograd.grad(reads, leaves, given, retain_graph=True, allow_unused=True)
            rows.append(torch.cat([_brought(g, a, w, width) for g, a, w in zip(grads, active, written)], 1)[: len(part)])
        return torch.cat(rows)

    return Work(call, _outputs, units=1.0)


def _brought(grad: Tensor | None, active: Tensor, written: Tensor, width: int) -> Tensor:
    if grad is None:
        return torch.zeros(width, len(active))
    return torch.einsum("bnd,nd->bn", grad[:, active[:, 0]], written)


def _norm(module: nn.LayerNorm, args: tuple, _output: Tensor) -> Tensor:
    centred = args[0] - args[0].mean(-1, keepdim=True)
    scale = (centred.pow(2).mean(-1, keepdim=True) + module.eps).rsqrt().detach()
    return centred * scale * module.weight + module.bias


def _queries(_module: nn.Module, _args: tuple, output: Tensor) -> Tensor:
    q, k, v = output.split(WIDTH, dim=-1)
    return torch.cat([q.detach(), k.detach(), v], -1)


def _leaf(leaves: list[Tensor], output: Tensor) -> Tensor:
    leaves.append(output.detach().requires_grad_(True))
    return leaves[-1]


def _outputs(rows: Tensor) -> dict[str, np.ndarray]:
    return {
        "sum": rows.sum(1).numpy(),
        "size": rows.abs().sum(1).numpy(),
        "first": rows[:, :: max(1, rows.shape[1] // 50)].numpy(),
    }
