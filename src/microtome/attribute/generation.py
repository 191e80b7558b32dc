"""Attribution of generated text: each new token to all that stands before it, against another one where one is given."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from microtome.attribute.attribution import Attribution
from microtome.attribute.continuations import Steps, greedy, steps_of
from microtome.attribute.ends import counted
from microtome.attribute.occlusion import occlusion
from microtome.attribute.text_spans import SPLITS, by_span
from microtome.errors import Degenerate, UsageError, nearest
from microtome.method import Paper, method
from microtome.stimuli.task import Task

#: A method that fits here: (subject, task, metric=...) -> Attribution.
By = Callable[..., Attribution]


@method(
    question="attribute",
    paper=Paper("Sarti, Feldhus, Sickert, van der Wal, Nissim, Bisazza", 2023,
                "Inseq: An Interpretability Toolkit for Sequence Generation Models", "https://arxiv.org/abs/2302.13942"),
    needs=("subject", "tokens"),
    gives="Attribution",
    stochastic=False,
    cost="the method `by`, once for each length of prompt and new tokens together",
    claim="Every step of a generation is one prediction; against another token, attributions say why this one and not that.",
    notion="post-hoc",
    serves="informativeness",
    cannot_claim="Why the text as a whole: each token is explained with the tokens before it as given.",
)  # fmt: skip
def generation(
    subject: Any,
    prompts: Any,
    *,
    continuation: Any = None,
    contrast: Any = None,
    by: By = occlusion,
    spans: str | Callable[[str], Sequence[str]] | None = None,
    tokens: int = 8,
    metric: str | None = None,
) -> Attribution:
    """Attribute each token of a continuation to the prompt and to the tokens generated before it.

    ``A_t = attribution of m(y_t | prompt, y_<t)``, with m the log-probability of y_t or, given a contrast c, the difference of
    the logits of y_t and c_t after the same ``prompt, y_<t`` (Yin, Neubig 2022).

    Parameters
    ----------
    subject : Subject
        A causal language model.
    prompts : sequence of str, or LongTensor[n, length]
    continuation : sequence of str or LongTensor[n, new], optional
        What follows each prompt. Default: what the model generates greedily.
    contrast : sequence of str or LongTensor[n, new], optional
        What might have followed instead. Only steps at which the two differ are attributed.
    by : callable, default occlusion
        (subject, task, metric=...) -> Attribution with positions; give its options with `functools.partial`. Prompts of one
        length are one task: a baseline that is a mean over examples would mix them.
    spans : {"words", "sentences"} or callable, optional
        Attribute parts of the prompt instead of tokens; or a function from a prompt to the parts it is made of. Needs texts.
    tokens : int, default 8
        Tokens to generate where no continuation is given.
    metric : str, optional
        Default: "log_prob", with a contrast "logit_difference".

    Returns
    -------
    Attribution
        One row per attributed token, padded to the right (``mask``). ``terms["prompt"]`` and ``terms["step"]`` say which row is
        which, ``settings["targets"]`` and ``settings["contrasts"]`` hold the tokens. Rows of one prompt may be summed: those of
        log-probabilities give the attribution of the whole continuation.

    Raises
    ------
    UsageError, TokenizerError, SiteError, NonFinite
    ShapeError
        When there is not one continuation per prompt.
    Degenerate
        When continuation and contrast do not differ.

    Notes
    -----
    Null: a network with random weights gives maps too; compare with `subject.twin()`.
    Misleads when the generated text is taken for granted: early tokens decide later ones, which then attribute to them.

    Examples
    --------
    >>> import microtome as mt
    >>> subject = mt.load("organism:compiled-ioi")
    >>> found = generation(subject, ["Emma met Paul . later Emma gave a ring to"], continuation=["Paul"], contrast=["Emma"])
    >>> best = found.table.set_index("position").attribution.idxmax()
    >>> found.tokens[0][best], found.settings["targets"], found.settings["contrasts"]
    ('Paul', ['Paul'], ['Emma'])

    References
    ----------
    Sarti, Feldhus, Sickert, van der Wal, Nissim, Bisazza (2023). Inseq: An Interpretability Toolkit for Sequence Generation
    Models. https://arxiv.org/abs/2302.13942
    Yin, Neubig (2022). Interpreting Language Models with Contrastive Explanations. https://arxiv.org/abs/2202.10419
    """
    counted("tokens", tokens)
    if isinstance(spans, str) and spans not in SPLITS:
        raise UsageError(f"no spans {spans!r}; known: {', '.join(SPLITS)}, or a function.{nearest(spans, SPLITS)}")
    if spans is not None and isinstance(prompts, Tensor):
        raise UsageError("spans are parts of texts: give the prompts as texts, not as token ids.")
    new = greedy(subject, prompts, tokens) if continuation is None else continuation
    steps = steps_of(subject, prompts, new, contrast)
    if not steps.rows:
        raise Degenerate("the contrasts equal the continuations at every step: there is nothing to tell apart.")
    name = metric or ("log_prob" if contrast is None else "logit_difference")
    found = _padded([_of_length(subject, steps, rows, by, name) for rows in steps.by_length()], steps)
    return found if spans is None else by_span(subject, found, prompts, SPLITS[spans] if isinstance(spans, str) else spans)


def _of_length(subject: Any, steps: Steps, rows: list[int], by: By, metric: str) -> tuple[list[int], Attribution]:
    """Steps whose contexts have the same number of tokens, in one batch."""
    ids = torch.tensor([steps.rows[i].context for i in rows])
    answers = torch.tensor([steps.rows[i].target for i in rows])
    wrong = torch.tensor([steps.rows[i].other for i in rows])
    task = Task(
        "generation", ids, ids, answers, wrong, groups=[steps.rows[i].prompt for i in rows], metric=metric, kind="tokens"
    )
    found = by(subject, task, metric=metric)
    if found.axes[:2] != ("batch", "position") or found.values.shape[1] != ids.shape[1]:
        raise UsageError(f"{found.method} gives axes {found.axes}; a generation needs one value or more for each token.")
    return rows, found


def _padded(parts: list[tuple[list[int], Attribution]], steps: Steps) -> Attribution:
    """All steps in their order, each on the positions before it."""
    first, n = parts[0][1], len(steps.rows)
    width = max(p.values.shape[1] for _, p in parts)
    values = torch.zeros(n, width, *first.values.shape[2:], dtype=first.values.dtype)
    mask = torch.zeros(n, width, dtype=torch.bool)
    output, reference = torch.zeros(n, dtype=first.output.dtype), torch.zeros(n, dtype=first.output.dtype)
    texts: list[list[str]] = [[] for _ in range(n)]
    for rows, part in parts:
        values[rows, : part.values.shape[1]] = part.values
        mask[rows, : part.values.shape[1]] = True
        output[rows] = part.output
        if part.reference is not None:
            reference[rows] = part.reference.to(reference)
        for i, row in enumerate(rows):
            texts[row] = part.tokens[i] if part.tokens is not None else [str(t) for t in steps.rows[row].context]
    about = {"targets": [r.target_text for r in steps.rows], "contrasts": [r.other_text for r in steps.rows] if steps.contrast
             else None}  # fmt: skip
    terms = {"prompt": torch.tensor([r.prompt for r in steps.rows]), "step": torch.tensor([r.step for r in steps.rows])}
    return Attribution(
        values, first.axes, first.site, f"generation by {first.method}", output,
        None if any(p.reference is None for _, p in parts) else reference, max(p.evaluations for _, p in parts), mask, texts,
        first.subject, "", {**first.settings, **about}, {}, terms,
    )  # fmt: skip
