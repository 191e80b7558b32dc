"""Training a subspace for interchange interventions: microtome, and pyvene (full source and base forward at each step)."""

import numpy as np
import torch
from harness.work import Work

from sides import data


def interchange(settings: dict, model: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Base and source ids [pairs, length], whose last token is one of two, and what the network answers to each."""
    base, source = (data.tokens(settings, name, settings["pairs"]) for name in (0, 1))
    for ids in (base, source):
        ids[:, -1] = 10 + ids[:, -1] % 2
    with torch.no_grad():
        answers = [torch.cat([model(x).logits[:, -1].argmax(-1) for x in ids.split(64)]) for ids in (base, source)]
    return base, source, *answers


def batches(settings: dict) -> list[torch.Tensor]:
    """Rows of every step."""
    draw = np.random.default_rng(5)
    return [torch.from_numpy(draw.choice(settings["pairs"], settings["batch"], False)) for _ in range(settings["steps"])]


def ours(settings: dict) -> Work:
    """`das` on the middle block's output at the last position: sources and base values once, then the suffix only."""
    from microtome import Subject
    from microtome.stimuli import Interchanges
    from microtome.trace import das

    model = data.load(settings)
    subject = Subject(model)
    base, source, wrong, labels = interchange(settings, model)
    pairs = Interchanges("benchmark", base, {"v": source}, labels, wrong)
    site = f"blocks.{data.BLOCKS // 2}.resid_post"

    def call():
        return das(subject, pairs, site=site, position=settings["length"] - 1, size=settings["k"], steps=settings["steps"],
                   batch=settings["batch"], lr=1e-2)  # fmt: skip

    return Work(call, lambda basis: {"iia": np.array([basis.metrics["train_iia"]])}, units=settings["steps"])


def pyvene(settings: dict) -> Work:
    """`IntervenableModel` with a `LowRankRotatedSpaceIntervention` on the middle block's output at the last position."""
    import pyvene as pv

    model = data.load(settings)
    config = pv.IntervenableConfig([{
        "layer": data.BLOCKS // 2, "component": "block_output", "low_rank_dimension": settings["k"],
        "intervention_type": pv.LowRankRotatedSpaceIntervention,
    }])  # fmt: skip
    base, source, _, labels = interchange(settings, model)
    last = settings["length"] - 1

    def call():
        torch.manual_seed(0)
        intervenable = pv.IntervenableModel(config, model)
        intervenable.disable_model_gradients()
        optimizer = torch.optim.Adam(intervenable.get_trainable_parameters(), lr=1e-2)
        for rows in batches(settings):
            _, out = intervenable({"input_ids": base[rows]}, [{"input_ids": source[rows]}], {"sources->base": last})
            loss = torch.nn.functional.cross_entropy(out.logits[:, -1], labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return intervenable

    def outputs(intervenable):
        hits = []
        with torch.no_grad():
            for rows in torch.arange(len(base)).split(settings["batch"]):
                _, out = intervenable({"input_ids": base[rows]}, [{"input_ids": source[rows]}], {"sources->base": last})
                hits.append(out.logits[:, -1].argmax(-1) == labels[rows])
        return {"iia": torch.cat(hits).float().mean()[None].numpy()}

    return Work(call, outputs, units=settings["steps"])
