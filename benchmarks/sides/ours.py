"""microtome, through its public functions."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from harness.work import Work

from sides import data


def _subject(settings: dict):
    from microtome import Subject

    return Subject(data.load(settings))


def record_residual(settings: dict) -> Work:
    """`Subject.run` with the residual stream after every block; nothing after the last block is computed."""
    subject, ids = _subject(settings), data.tokens(settings)
    sites = [f"blocks.{i}.resid_post" for i in range(data.BLOCKS)]

    def outputs(run):
        return data.blocks(run[s] for s in sites)

    return Work(lambda: subject.run(ids, record=sites, logits="none"), outputs)


def sweep_layer_position(settings: dict) -> Work:
    """`Subject.sweep` over the residual stream before each block, at each position."""
    import microtome as mt

    sites = [f"blocks.{i}.resid_pre" for i in range(data.BLOCKS)]
    places = range(settings["length"])
    shape = (data.BLOCKS, settings["length"])
    return _sweep(settings, sites, lambda clean: [mt.patch(s, clean, position=p) for s in sites for p in places], shape)


def sweep_layer_head(settings: dict) -> Work:
    """`Subject.sweep` over the heads' outputs before the output projection, all positions."""
    import microtome as mt

    sites = [f"blocks.{i}.attn.z" for i in range(data.BLOCKS)]
    shape = (data.BLOCKS, data.HEADS)
    return _sweep(settings, sites, lambda run: [mt.patch(s, run, head=h) for s in sites for h in range(data.HEADS)], shape)


def _sweep(settings, sites, edits, shape) -> Work:
    from microtome.stimuli.metrics import logit_difference
    from microtome.subject.bind import Metric

    subject = _subject(settings)
    right, wrong = data.answers(settings)
    metric = Metric(logit_difference, right, wrong, torch.full((settings["batch"],), settings["length"] - 1))
    clean = subject.run(data.tokens(settings, 0), record=sites, logits="none")
    ids = data.tokens(settings, 1)

    def call():
        return subject.sweep(ids, edits(clean), metric)

    def outputs(sweep):
        if not sweep.replayed:
            raise RuntimeError(f"the sweep ran in full forwards: {sweep.note}")
        return {"effects": sweep.values.mean(dim=1).reshape(shape).numpy()}

    return Work(call, outputs, units=shape[0] * shape[1])


def record_memory(settings: dict) -> Work:
    """`Subject.record` of the residual stream after every block, kept in memory."""
    return _record(settings, lambda: None)


def record_disk(settings: dict) -> Work:
    """The same with `to` a new folder; the folder is deleted outside the timed part."""
    base = settings.get("folder") or tempfile.gettempdir()
    return _record(settings, lambda: Path(tempfile.mkdtemp(prefix="microtome-bench-", dir=base)) / "recording")


def _record(settings, folder) -> Work:
    subject = _subject(settings)
    sites = [f"blocks.{i}.resid_post" for i in range(data.BLOCKS)]
    row = 4 * data.BLOCKS * subject.facts.d_model
    samples = round(settings["megabytes"] * 1e6 / row / settings["length"])
    common = round(settings["compared_megabytes"] * 1e6 / row / settings["length"]) * settings["length"]
    ids = data.tokens(settings, rows=samples)

    def call():
        where = folder()
        return subject.record(ids, sites, to=where), where

    def outputs(result):
        recording, _ = result
        sums = np.stack([recording[s].select(np.arange(common)).matrix().double().mean(0).numpy() for s in sites])
        return {"means": sums}

    def after(result):
        if result[1] is not None:
            shutil.rmtree(result[1].parent)

    return Work(call, outputs, units=samples * settings["length"] * row / 1e6, after=after)


def sae_step(settings: dict) -> Work:
    """One update of `topk_sae`'s trainer: loss, gradients, Adam, unit directions, counts of dead latents, curve."""
    from sides.sae import first_reconstruction, start

    x, directions = start(settings)
    fit = _fit(x, settings["k"], directions)
    p, k = fit.p, settings["k"]
    reached = {"reconstruction": first_reconstruction(x, p["encoder"].T, p["b_enc"], p["decoder"], p["b_dec"], k)}
    return Work(lambda: fit.update(x, x) or True, lambda _: reached)


def sae_quality(settings: dict) -> Work:
    """`topk_sae`'s trainer on planted features, and the share of variance it leaves."""
    from microtome.decompose.dictionary import SparseDictionary
    from sides import sae

    def call():
        first, directions = sae.planted(settings, 0), sae.start(settings)[1]
        fit = _fit(first, settings["k"], directions, settings["lr"])
        for i in range(settings["steps"]):
            rows = sae.planted(settings, i)
            fit.update(rows, rows)
        return fit

    def outputs(fit):
        # As trained: `fit.dictionary()` would fold in scales that `_fit` has set to 1.
        basis = SparseDictionary("site", **fit.formula.export({name: value.detach() for name, value in fit.p.items()}))
        return sae.left(settings, lambda x: basis.decode(basis.encode(x)))

    return Work(call, outputs, units=settings["steps"])


def _fit(x: torch.Tensor, k: int, directions: torch.Tensor, lr: float = 1e-4):
    """A training in the middle of a long run, on inputs that are not scaled, from given directions."""
    from microtome.decompose.ends import Feed
    from microtome.decompose.fitting import Fit, Recipe
    from microtome.decompose.topk_sae import TopK
    from microtome.subject.recording import Recording

    recipe = Recipe(TopK(k), len(directions), lr=lr)
    fit = Fit(recipe, Feed(Recording.of(x)).ends, x[:1], steps=10**6, batch=len(x))
    fit.scale_in = fit.scale_out = 1.0
    fit.progress.step = 10**5  # past the warm-up of the learning rate
    with torch.no_grad():
        for name, value in fit.formula.start(directions, x.mean(0)).items():
            fit.p[name].copy_(value)
    return fit


def many_dictionaries(settings: dict) -> Work:
    """`train_many` on a live subject: one forward feeds all dictionaries."""
    from microtome.decompose import Live, Recipe, train_many
    from microtome.decompose.topk_sae import TopK

    subject, steps = _subject(settings), settings["steps"]
    ids = data.tokens(settings, rows=settings["samples"])
    sites = [f"blocks.{i}.resid_post" for i in range(data.BLOCKS)]
    recipes = {}
    for i in range(settings["dictionaries"]):
        recipes[str(i)] = Recipe(TopK(settings["k"], 0), settings["latents"], reads=sites[i % len(sites)], seed=i)

    def call():
        live = Live(subject, ids, sites, buffer=4 * settings["rows"], forward=settings["batch"])
        return train_many(live, recipes, steps=steps, batch=settings["rows"])

    def outputs(_):
        run = subject.run(ids[:2], record=sites, logits="none")
        return {"residual": np.stack([run[s].float().mean((0, 1)).numpy() for s in sites])}

    return Work(call, outputs, units=steps)


def own_steps(settings: dict) -> Work:
    """What the same dictionaries cost on rows at hand: the updates alone, without a forward."""
    from sides.sae import start

    x, directions = start({**settings, "batch": settings["rows"]})
    fits = [_fit(x, settings["k"], directions) for _ in range(settings["dictionaries"])]

    def call():
        for _ in range(settings["steps"]):
            for fit in fits:
                fit.update(x, x)
        return True

    return Work(call, lambda _: {}, units=settings["steps"])


def bound(settings: dict) -> Work:
    """What training live may cost: 1.6 times the forwards (rounded down) and the updates alone."""
    forwards, steps = forward_alone(settings | {"steps": int(1.6 * settings["steps"])}), own_steps(settings)

    def call():
        return forwards.call() and steps.call()

    return Work(call, forwards.outputs, units=settings["steps"])


def forward_alone(settings: dict) -> Work:
    """The forwards that those updates need rows from: recorded at all blocks and thrown away."""
    subject = _subject(settings)
    sites = [f"blocks.{i}.resid_post" for i in range(data.BLOCKS)]
    ids = data.tokens(settings, rows=settings["samples"])
    forwards = -(-settings["steps"] * settings["rows"] // (settings["batch"] * settings["length"]))

    def call():
        for i in range(forwards):
            lo = i * settings["batch"] % len(ids)
            subject.run(ids[lo : lo + settings["batch"]], record=sites, logits="none")
        return True

    def outputs(_):
        run = subject.run(ids[:2], record=sites, logits="none")
        return {"residual": np.stack([run[s].float().mean((0, 1)).numpy() for s in sites])}

    return Work(call, outputs, units=settings["steps"])
