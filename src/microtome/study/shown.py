"""What a study shows its subject: the data given, the organism's own, or text that the model writes."""

from pathlib import Path
from typing import Any

import torch

from microtome.errors import UsageError
from microtome.rng import torch_rng
from microtome.stimuli.stimuli import Stimuli
from microtome.subject.subject import Subject

DOCUMENTS = 1200
#: About so many tokens are recorded; more documents than that are left out.
TOKENS = 30_000


def enough(subject: Subject, stimuli: Stimuli, count: int = TOKENS) -> Stimuli:
    """As many of the first documents as hold about `count` tokens, 24 at least."""
    if stimuli.kind != "text":
        return stimuli
    few = list(stimuli.inputs)[:32]
    per_document = float(subject.tokens(few).lengths.sum()) / len(few)
    return stimuli[: max(24, int(count / max(1.0, per_document)))]


def stimuli_of(subject: Subject, data: Any, truth: Any, seed: int) -> Stimuli:
    """What the subject is shown: the data given, the organism's own, or text that the model writes."""
    if isinstance(data, Stimuli):
        return data
    if data is not None:
        return _read(Path(data))
    if truth is not None and hasattr(truth, "corpus"):
        return truth.corpus(DOCUMENTS, seed)
    if subject.organism is not None and subject.organism.examples is not None:
        made = subject.organism.examples(512, seed)
        if isinstance(made, Stimuli):
            return made
    if subject.tokenizer is not None and subject.trunks and subject.trunks[0].stack.causal:
        from microtome.stimuli.english import marked

        return marked(written(subject, 256, seed), "the model's own text")
    raise UsageError(f"{subject.name} needs data: a .txt, .jsonl or .parquet file of texts, or an .npz of images.")


def _read(path: Path) -> Stimuli:
    from microtome.stimuli import images, texts
    from microtome.stimuli.english import marked

    if not path.exists():
        raise UsageError(f"there is no file '{path}'.")
    if path.suffix == ".npz":
        return images(path)
    found = texts(path)
    return found if len(found.spans) else marked(list(found.inputs)[:DOCUMENTS], path.name)


def written(subject: Subject, n: int, seed: int, length: int = 96) -> list[str]:
    """`n` texts sampled from the model itself, from its beginning-of-sequence token."""
    tokenizer = subject.tokenizer
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if begin is None:
        raise UsageError(f"{subject.name} has no beginning token to write from; give data.")
    ids = torch.full((n, 1), int(begin))
    generator = torch_rng(seed, "written")
    past = None
    with torch.no_grad():
        step = ids
        for _ in range(length):
            out = subject.module(step, past_key_values=past, use_cache=True)
            past = out.past_key_values
            step = torch.multinomial(out.logits[:, -1].softmax(-1), 1, generator=generator)
            ids = torch.cat([ids, step], dim=1)
    texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return [t for t in (t.strip() for t in texts) if t] or [" "]
