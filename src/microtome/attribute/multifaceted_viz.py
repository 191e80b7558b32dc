"""Multifaceted feature visualisation."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from microtome.attribute.ends import counted
from microtome.attribute.facets import TRIED, Facets, Groups, clouds, grouped, nearest_means, reduced
from microtome.attribute.visual.ascent import climb, measure, reader
from microtome.attribute.visual.brushes import centred
from microtome.attribute.visual.canvas import WAYS, Canvas
from microtome.attribute.visual.objectives import Objective, as_objective, belongs
from microtome.attribute.visual.transforms import Transforms
from microtome.attribute.visual.visualisation import Visualisation
from microtome.errors import Degenerate, UsageError
from microtome.method import Paper, method
from microtome.rng import derive
from microtome.stimuli.fingerprint import fingerprint

#: Principal components in which pictures are grouped (the paper's).
COMPONENTS = 50
#: Weight of the total variation of a picture between 0 and 1, beside the target in standard deviations over real pictures.
SMOOTH = 2.0
JITTER = Transforms(jitter=0.06, pad=0.0, scale=(1.0, 1.0), rotate=0.0)


@method(
    question="attribute",
    paper=Paper("Nguyen, Yosinski, Clune", 2016, "Multifaceted Feature Visualization: Uncovering the Different Types of "
                "Features Learned By Each Neuron in Deep Neural Networks", "https://arxiv.org/abs/1602.03616"),
    needs=("subject", "images", "gradients"),
    gives="Facets: a picture per facet, and the Finding that there are any",
    stochastic=True,
    cost="one forward of the images, `steps` forwards and backwards of one picture per facet, twice with a twin",
    claim="A unit responds to several kinds of pictures; climbing from the mean of each kind shows them all.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="That the network treats the groups as kinds: k-means finds groups in one cloud too (see the finding).",
    tiny={"steps": 12, "nearest": 5},
    skips={"batch": "facets are of all pictures together"},
)  # fmt: skip
def multifaceted_viz(
    subject: Any,
    target: Any,
    images: Any,
    *,
    at: str | None = None,
    facets: int | None = None,
    top: int | None = None,
    nearest: int = 15,
    steps: int = 120,
    lr: float = 0.02,
    twin: str | None = "reinit",
    seed: int = 0,
) -> Facets:
    """Group the real pictures that excite a unit, and climb from the mean of each group.

    Codes of a high layer, on 50 principal components, are grouped by k-means. The mean x0 of the `nearest` pictures to each
    centre is where a climb ``x <- x + lr g / |g|`` starts, ``g = d(target - total variation)/dx``: smoothed at first, then
    within a region that grows from the centre (centre-biased regularisation), of pictures that are shifted at random.

    Parameters
    ----------
    subject : Subject
    target : int, str, Unit, (Basis, int) or Objective
        As in `visualise`.
    images : Tensor[m, channels, *places] or Stimuli
        Real pictures that excite the target, e.g. those of the class; or any, with `top`.
    at : str, optional
        Site of the codes; default what enters the last linear layer (the paper's: fc7).
    facets : int, optional
        How many; default the number from 2 to 10 with the largest silhouette (the paper: 10).
    top : int, optional
        How many of the pictures, those that excite the target most; default all.
    nearest : int, default 15
        Pictures averaged per facet.
    steps : int, default 120
        Of the climb: a third in broad strokes.
    lr : float, default 0.02
        Length of a step, in the root mean square of the numbers behind the pixels.
    twin : {"reinit", "weight_shuffle"}, optional
        The network that learned nothing on which all is done too; None for no null. Default "reinit".
    seed : int, default 0

    Returns
    -------
    Facets
        ``made`` (one picture per facet), ``labels``, ``shares``, ``starts``, ``separation`` with its ``chance``.

    Raises
    ------
    UsageError, SiteError, ShapeError, NonFinite, SubjectMismatch
    Degenerate
        With fewer pictures than facets, codes that are all the same, or a target that is.

    Notes
    -----
    Null: k-means cuts one cloud in pieces too; the finding compares with clouds of one Gaussian. Pictures made on a twin from
    its own facets start from real pictures and look like them, and say less to the subject.
    Misleads when the number of facets is taken for a fact, and when real pictures are not aligned: their mean is grey. The
    original embeds codes by t-SNE before grouping, which is unstable and not needed; draw ``plane`` instead.

    Examples
    --------
    >>> import torch
    >>> from microtome.testing.worlds.multifaceted_viz import world
    >>> planted = world(0)
    >>> found = multifaceted_viz(planted.subject, 0, planted.images, steps=9, nearest=5)
    >>> len(found), found.finding().verdict
    (2, 'supported')

    References
    ----------
    Nguyen, Yosinski, Clune (2016). Multifaceted Feature Visualization: Uncovering the Different Types of Features Learned By
    Each Neuron in Deep Neural Networks. https://arxiv.org/abs/1602.03616
    """
    for name, value, least in (("nearest", nearest, 1), ("steps", steps, 1), ("facets", facets, 2), ("top", top, 2)):
        if value is not None:
            counted(name, value, least)
    if not lr > 0:
        raise UsageError(f"lr must be above 0, got {lr!r}.")
    objective, shown = belongs(as_objective(target), subject), subject.inputs(images).main
    canvas, site = Canvas.of(shown), at or last_codes(subject)
    site = subject.site(site).name
    painter = Painter(objective, canvas, shown, site, facets, top, nearest, steps, lr, seed)
    mine, labels, codes, groups, starts = painter.paint(subject)
    settings = {"at": site, "facets": facets, "top": top, "nearest": nearest, "steps": steps, "lr": lr, "twin": twin,
                "seed": seed}  # fmt: skip
    about = {"target": str(objective), "data": fingerprint(shown), "settings": settings}
    null = None
    if twin is not None:
        other = subject.twin(twin, seed=derive(seed, "multifaceted"))
        its, *_ = painter.paint(other)
        with reader(subject, objective, shown[:1]) as read:
            score = measure(read, its.images.to(shown))
        null = Visualisation(its.images, its.curve, score, mine.real, subject=other.fingerprint(), **about)
    made = Visualisation(mine.images, mine.curve, mine.score, mine.real, null=null, subject=subject.fingerprint(), **about)
    plane = codes[:, :2] if codes.shape[1] > 1 else np.column_stack([codes, np.zeros(len(codes))])
    return Facets(made, starts.cpu(), labels, plane, groups.separation, clouds(codes, len(groups.centres), seed), site)


@dataclass(frozen=True)
class Painter:
    """All that is done on the subject and, in the same way, on its twin."""

    objective: Objective
    canvas: Canvas
    shown: Tensor
    site: str
    facets: int | None
    top: int | None
    nearest: int
    steps: int
    lr: float
    seed: int

    def paint(self, network: Any) -> tuple[Visualisation, np.ndarray, np.ndarray, Groups, Tensor]:
        """Pictures, facet of each real picture, codes of those used, their groups, where the climbs began."""
        with reader(network, self.objective, self.shown[:1]) as read:
            real = measure(read, self.shown)
        used = torch.arange(len(real)) if self.top is None else real.argsort(descending=True)[: self.top].sort().values
        least = (self.facets or TRIED[0]) + 1
        if len(used) < least:
            raise Degenerate(f"{len(used)} pictures cannot be cut into {least - 1} facets: give at least {least}.")
        spread = float(real.double().std())
        if not spread > 1e-9 * max(1.0, float(real.abs().max())):
            raise Degenerate(f"{self.objective} is the same for all {len(real)} pictures: nothing excites it.")
        pictures = self.shown[used.to(self.shown.device)]
        runs = [network.run(part, record=[self.site], logits="none")[self.site] for part in pictures.split(256)]
        codes = reduced(torch.cat(runs).flatten(1).double().cpu().numpy(), COMPONENTS)
        groups = grouped(codes, self.facets, self.seed)
        starts = nearest_means(pictures, codes, groups, self.nearest)
        how, scale = WAYS["pixels"], self.canvas.high - self.canvas.low
        z = how.trace(self.canvas, self.canvas.unsquash(starts))
        with reader(network, self.objective, self.shown[:1]) as read:
            images, curve = climb(
                lambda x: read(x) / spread, self.canvas, how, z, steps=self.steps, lr=self.lr, transforms=JITTER,
                penalties={"total_variation": SMOOTH / scale}, seed=self.seed,
                brush=centred(self.steps, self.canvas.shape[1:]),
            )  # fmt: skip
            score = measure(read, images)
        labels = np.full(len(real), -1)
        labels[used.numpy()] = groups.labels
        return Visualisation(images.cpu(), curve * spread, score, real, str(self.objective)), labels, codes, groups, starts


def last_codes(subject: Any) -> str:
    """What enters the last linear layer."""
    names = [name for name, m in subject.module.named_modules() if isinstance(m, nn.Linear) and name]
    if not names:
        raise UsageError(f"{subject.name} has no linear layer whose input could be its codes; name the site with at=.")
    return f"{names[-1]}:input"
