"""Gradient and gradient times input."""

from typing import Any, Literal

from microtome.attribute.attribution import Attribution
from microtome.attribute.place import input_site, position_mask, token_texts
from microtome.errors import UsageError
from microtome.method import Paper, method
from microtome.subject.gradients import gradients


@method(
    question="attribute",
    paper=Paper("Simonyan, Vedaldi, Zisserman", 2013, "Deep Inside Convolutional Networks: Visualising Image Classification "
                "Models and Saliency Maps", "https://arxiv.org/abs/1312.6034"),
    needs=("subject", "task", "gradients"),
    gives="Attribution",
    stochastic=False,
    cost="one forward, one backward",
    claim="The gradient of the output is the local linear effect of each input.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="The effect of removing an input: the gradient is local and is 0 where the output saturates.",
)  # fmt: skip
def gradient(
    subject: Any, task: Any, *, at: str | None = None, times: Literal["one", "input"] = "one", metric: str | None = None
) -> Attribution:
    """Differentiate the metric at a site.

    ``A = dm/dx`` (times="one"), or ``A = x * dm/dx`` (times="input").

    Parameters
    ----------
    subject : Subject
    task : Task
    at : str, optional
        Site; default the embeddings, or the input of the first layer.
    times : {"one", "input"}
        What the gradient is multiplied with.
    metric : str, optional
        Default: the task's.

    Returns
    -------
    Attribution

    Raises
    ------
    UsageError, SiteError, NonFinite

    Notes
    -----
    Null: in a random network the map follows the input's edges and the architecture as well; compare with `subject.twin()`.
    Misleads when the output saturates: F(x) = 1 - ReLU(1 - x) has gradient 0 at x = 2 though x matters.

    Examples
    --------
    >>> import torch
    >>> from microtome.stimuli.task import Task
    >>> from microtome.subject.subject import Subject
    >>> layer = torch.nn.Linear(3, 2, bias=False)
    >>> layer.weight.data = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    >>> x = torch.tensor([[1.0, 1.0, 2.0]])
    >>> task = Task("first class", x, -x, torch.tensor([0]), torch.tensor([1]), kind="image")
    >>> gradient(Subject(torch.nn.Sequential(layer)), task, times="input").values.tolist()
    [[1.0, 2.0, -2.0]]

    References
    ----------
    Simonyan, Vedaldi, Zisserman (2013). Deep Inside Convolutional Networks: Visualising Image Classification Models and
    Saliency Maps. https://arxiv.org/abs/1312.6034
    """
    if times not in ("one", "input"):
        raise UsageError(f"times must be 'one' or 'input', got {times!r}.")
    bound = subject.bind(task, metric=metric)
    name = subject.site(at or input_site(subject)).name
    output, grads, values = gradients(subject, bound.inputs, [name], bound.metric)
    value = grads[name] * values[name] if times == "input" else grads[name]
    return Attribution(
        value.cpu(), subject.site(name).axes_of(value), name, "gradient" if times == "one" else "gradient times input",
        output.cpu(), None, 2, position_mask(subject, bound.inputs, name, value), token_texts(subject, bound.inputs),
        subject.fingerprint(), task.fingerprint(), {"metric": bound.metric.name, "times": times},
    )  # fmt: skip
