"""Feature visualisation."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from microtome.attribute.ends import counted
from microtome.attribute.visual.ascent import climb, measure, random_numbers, reader
from microtome.attribute.visual.canvas import Canvas, way
from microtome.attribute.visual.objectives import Objective, as_objective, belongs
from microtome.attribute.visual.transforms import Transforms, checked_penalties
from microtome.attribute.visual.visualisation import Visualisation
from microtome.errors import ShapeError, UsageError
from microtome.method import Paper, method
from microtome.rng import derive
from microtome.stimuli.fingerprint import fingerprint

#: Shakes pictures a little; a value, so that the default is one and the same.
SHAKEN = Transforms()


@method(
    question="attribute",
    paper=Paper("Olah, Mordvintsev, Schubert", 2017, "Feature Visualization", "https://distill.pub/2017/feature-visualization/"),
    needs=("subject", "images", "gradients"),
    gives="Visualisation: pictures, and the Finding that they excite the target more than a twin's",
    stochastic=True,
    cost="`steps` forwards and backwards of all pictures, twice with a twin",
    claim="Pictures made by gradient ascent, regularised, show what a part of a network responds to.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That real pictures excite the target for the same reason: an optimum is one of many, and rarely real.",
    tiny={"steps": 24, "lr": 0.3, "transforms": None},
    skips={"batch": "pictures are made from nothing: no row belongs to an example"},
)  # fmt: skip
def visualise(
    subject: Any,
    target: Any,
    images: Any,
    *,
    starts: int | Tensor = 4,
    picture: str = "fourier",
    transforms: Transforms | None = SHAKEN,
    penalties: Mapping[str, float] | None = None,
    steps: int = 256,
    lr: float = 0.05,
    twin: str | None = "reinit",
    seed: int = 0,
) -> Visualisation:
    """Make pictures that a unit, a class or a direction of a basis responds to as much as can be.

    ``x* = argmax_x E_t objective(t(x)) - sum_k w_k penalty_k(x)`` over pictures x written as waves or pixels, t random shifts,
    zooms and turns, by Adam.

    Parameters
    ----------
    subject : Subject
        A network of pictures, sounds or rows.
    target : int, str, Unit, (Basis, int) or Objective
        A class; a unit ``"layer2[5]"`` (its mean over places); a coordinate of a basis; or what `attribute.visual` composes:
        ``class_logit``, ``channel``, ``direction``, ``diversity``, added and scaled.
    images : Tensor[m, channels, *places] or Stimuli
        Real pictures as the network takes them: they say how large a picture is, between which bounds its values lie, which
        colours go together, and what the target says of real ones.
    starts : int or Tensor, default 4
        How many pictures from random starts, or pictures to start from.
    picture : {"fourier", "pixels"}
        How pictures are written. Default "fourier", in decorrelated colours.
    transforms : Transforms, optional
        How pictures are shaken at every step; None for not at all.
    penalties : mapping of str to float, optional
        Weights of "total_variation", "l1", "l2" (distance from the mean colour).
    steps : int, default 256
    lr : float, default 0.05
    twin : {"reinit", "weight_shuffle"}, optional
        The network that learned nothing on which the same is made; None for no null. Default "reinit".
    seed : int, default 0

    Returns
    -------
    Visualisation
        ``images``, ``curve``, ``score``, ``percentile`` among the real pictures, ``null``.

    Raises
    ------
    UsageError, SiteError, ShapeError, NonFinite, Degenerate
    SubjectMismatch
        When a basis was fitted on another subject.

    Notes
    -----
    Null: ascent succeeds on any network; the twin's pictures look as busy. What they lack is to excite the subject's target.
    Misleads when one picture is taken for the whole of a unit, which may respond to several things (`multifaceted_viz`), and
    when pictures are small: regularisers then decide what is seen.

    Examples
    --------
    >>> import torch
    >>> from microtome.subject.subject import Subject
    >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2, bias=False))
    >>> bar = torch.zeros(6, 6)
    >>> bar[:, 2:4] = 1.0
    >>> net[1].weight.data = torch.stack([bar.flatten() - 0.3, torch.zeros(36)])
    >>> real = torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    >>> found = visualise(Subject(net), 0, real, starts=1, steps=40, lr=0.2, transforms=None)
    >>> bool(found.images[0, 0][bar > 0].min() > found.images[0, 0][bar == 0].max()), float(found.percentile)
    (True, 100.0)

    References
    ----------
    Olah, Mordvintsev, Schubert (2017). Feature Visualization. https://distill.pub/2017/feature-visualization/
    """
    counted("steps", steps)
    if not lr > 0:
        raise UsageError(f"lr must be above 0, got {lr!r}.")
    objective, how, weights = belongs(as_objective(target), subject), way(picture), checked_penalties(penalties)
    shown = subject.inputs(images).main
    canvas = Canvas.of(shown)
    if isinstance(starts, Tensor):
        if tuple(starts.shape[1:]) != canvas.shape or not len(starts):
            raise ShapeError(f"starts must be pictures like the images, [n, {', '.join(map(str, canvas.shape))}], "
                             f"got {list(starts.shape)}.")  # fmt: skip
        z = how.trace(canvas, canvas.unsquash(starts.to(shown)))
    else:
        counted("starts", starts)
        z = random_numbers(canvas, how, starts, seed).to(shown)
    settings = {"picture": picture, "transforms": None if transforms is None else str(transforms), "penalties": weights,
                "steps": steps, "lr": lr, "twin": twin, "seed": seed}  # fmt: skip

    def made(network: Any) -> tuple[Tensor, Tensor]:
        with reader(network, objective, shown[:1]) as read:
            return climb(read, canvas, how, z, steps=steps, lr=lr, transforms=transforms, penalties=weights, seed=seed)

    twin_subject = None if twin is None else subject.twin(twin, seed=derive(seed, "visualise"))
    (pictures, curve), other = made(subject), None if twin_subject is None else made(twin_subject)
    with reader(subject, objective, shown[:1]) as read:
        real, score = measure(read, shown), measure(read, pictures)
        null_score = None if other is None else measure(read, other[0])
    about = {"target": str(objective), "data": fingerprint(shown), "settings": settings}
    null = None
    if other is not None and twin_subject is not None and null_score is not None:
        null = Visualisation(other[0].cpu(), other[1], null_score, real, subject=twin_subject.fingerprint(), **about)
    return Visualisation(pictures.cpu(), curve, score, real, null=null, subject=subject.fingerprint(), **about)


def objective_of(subject: Any, target: Any, images: Tensor) -> tuple[Objective, Tensor]:
    """A target as an objective, and what it says of pictures [n]."""
    objective = belongs(as_objective(target), subject)
    with reader(subject, objective, images[:1]) as read:
        return objective, measure(read, images)
