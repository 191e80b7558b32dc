"""TopK updates by SAELens and dictionary_learning, from the same start as the other sides."""

from collections.abc import Callable

import torch
from harness.work import Work
from torch import Tensor

from sides import sae

#: One update on a batch, and what the present parameters reconstruct of rows.
Side = tuple[Callable[[Tensor], object], Callable[[Tensor], Tensor]]


def saelens(settings: dict, x: Tensor, directions: Tensor, lr: float) -> Side:
    """`SAETrainer._train_step` on a `TopKTrainingSAE`."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    config = TopKTrainingSAEConfig(d_in=settings["d"], d_sae=settings["latents"], k=settings["k"], apply_b_dec_to_input=True)
    model = TopKTrainingSAE(config)
    with torch.no_grad():
        model.W_enc.copy_(directions.T)
        model.W_dec.copy_(directions)
        model.b_dec.copy_(x.mean(0))
        model.b_enc.zero_()
    batch = settings["batch"]
    trainer = SAETrainer(SAETrainerConfig(10**6 * batch, batch, lr=lr, lr_end=lr), model, iter(()))
    return lambda rows: trainer._train_step(model, rows), model.forward


def dictionary_learning(settings: dict, x: Tensor, directions: Tensor, lr: float) -> Side:
    """`TopKTrainer.update`."""
    from dictionary_learning.trainers.top_k import TopKTrainer

    trainer = TopKTrainer(10**6, settings["d"], settings["latents"], settings["k"], 0, "random", lr=lr, warmup_steps=0,
                          device="cpu")  # fmt: skip
    with torch.no_grad():
        trainer.ae.encoder.weight.copy_(directions)
        trainer.ae.decoder.weight.copy_(directions.T)
        trainer.ae.b_dec.copy_(x.mean(0))
    return lambda rows: trainer.update(1, rows), trainer.ae.forward


SIDES = {"saelens": saelens, "dictionary_learning": dictionary_learning}


def step(settings: dict) -> Work:
    """One update, timed."""
    x, directions = sae.start(settings)
    update, rebuild = SIDES[settings["peer"]](settings, x, directions, 1e-4)
    with torch.no_grad():
        reached = {"reconstruction": rebuild(x[:16]).numpy()}

    def call():
        update(x)
        return True

    return Work(call, lambda _: reached)


def quality(settings: dict) -> Work:
    """A whole training on planted features, and the share of variance it leaves."""

    def call():
        first, directions = sae.planted(settings, 0), sae.start(settings)[1]
        update, rebuild = SIDES[settings["peer"]](settings, first, directions, settings["lr"])
        for i in range(settings["steps"]):
            update(sae.planted(settings, i))
        return rebuild

    return Work(call, lambda rebuild: sae.left(settings, rebuild), units=settings["steps"])
