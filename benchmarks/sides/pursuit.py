"""Matching pursuit: the codes of a dictionary, and a training of its atoms, from one start on the same batches."""

import numpy as np
import torch
from harness.work import Work
from torch import Tensor

from sides import sae
from sides.snmf import stand_in_for_vision


def encode(settings: dict) -> Work:
    """`PursuitDictionary.encode`."""
    from microtome.decompose.pursuit import PursuitDictionary

    x, atoms = sae.start(settings)
    basis = PursuitDictionary("hidden", W_dec=atoms, b_dec=torch.zeros(settings["d"]), steps=settings["k"])
    return Work(lambda: basis.encode(x), _codes)


def encode_overcomplete(settings: dict) -> Work:
    """`MpSAE.encode` with the same atoms, in the mode of inference."""
    x, atoms = sae.start(settings)
    model = _model(settings, atoms)
    model.train()
    model.get_dictionary()  # scales the atoms
    model.eval()

    def call() -> Tensor:
        with torch.no_grad():
            return model.encode(x)[1]

    return Work(call, _codes)


def training(settings: dict) -> Work:
    """Updates of `mp_sae`: its formula and optimiser, on planted features."""
    from microtome.decompose.ends import Feed
    from microtome.decompose.fitting import Fit, Recipe
    from microtome.decompose.mp_sae import Pursuit
    from microtome.decompose.pursuit import pursue
    from microtome.subject.recording import Recording

    first, atoms = sae.planted(settings, 0), sae.start(settings)[1]
    batches = [sae.planted(settings, i) for i in range(settings["steps"])]

    def call():
        recipe = Recipe(Pursuit(settings["k"]), settings["latents"], lr=settings["lr"])
        fit = Fit(recipe, Feed(Recording.of(first)).ends, first[:1], steps=10**6, batch=len(first))
        fit.scale_in = fit.scale_out = 1.0
        fit.progress.step = 10**6 // 2 + 1  # past the warm-up, and past the revival of dead atoms, which the peer lacks
        with torch.no_grad():
            for name, value in fit.formula.start(atoms, torch.zeros(settings["d"])).items():
                fit.p[name].copy_(value)
        for x in batches:
            fit.update(x, x)
        return lambda rows: rows - pursue(rows - fit.p["b_dec"], fit.p["decoder"], settings["k"])[2]

    return Work(call, lambda rebuild: _reached(settings, rebuild), units=settings["steps"])


def training_overcomplete(settings: dict) -> Work:
    """`MpSAE` under Adam with the mean squared error, as its `train_sae` does, without its reports."""
    atoms = sae.start(settings)[1]
    batches = [sae.planted(settings, i) for i in range(settings["steps"])]

    def call():
        model = _model(settings, atoms)
        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"])
        for x in batches:
            optimizer.zero_grad()
            _, codes = model.encode(x)
            (x - model.decode(codes)).square().mean().backward()
            optimizer.step()
        return lambda rows: model.decode(model.encode(rows)[1])

    return Work(call, lambda rebuild: _reached(settings, rebuild), units=settings["steps"])


def _model(settings: dict, atoms: Tensor):
    stand_in_for_vision()
    from overcomplete.sae import MpSAE

    model = MpSAE(settings["d"], nb_concepts=settings["latents"], k=settings["k"], device="cpu")
    with torch.no_grad():
        model.dictionary._weights.copy_(atoms)
    return model


def _codes(z: Tensor) -> dict[str, np.ndarray]:
    return {"codes": z[:64].detach().numpy()}


def _reached(settings: dict, rebuild) -> dict[str, np.ndarray]:
    """Whether a fresh batch is rebuilt as well as is asked: equal loss, not equal atoms."""
    return {"reached": np.array([float(sae.left(settings, rebuild)["fvu"][0] <= settings["left"])])}
