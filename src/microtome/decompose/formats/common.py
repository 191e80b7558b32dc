"""What all readers share: parts from named tensors, orientation, and the check of a dictionary on data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microtome import io
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.judge import fvu, reconstruction
from microtome.errors import FormatError, ShapeError, SubjectMismatch, UsageError
from microtome.subject.alias import canonical
from microtome.subject.recording.join import joined

#: Names that TransformerLens has for sites inside a block.
HOOKS = (
    "hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out", "attn.hook_q", "attn.hook_k",
    "attn.hook_v", "attn.hook_z", "mlp.hook_pre", "mlp.hook_post", "ln1.hook_normalized", "ln2.hook_normalized",
)  # fmt: skip
#: Rows that a dictionary is checked on.
CHECK_ROWS = 4096


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that must hold an object."""
    found = io.read_json(path)
    if not isinstance(found, dict):
        raise FormatError(f"'{path}' must hold an object, found {type(found).__name__}.")
    return found


def take(tensors: Mapping[str, Any], names: Mapping[str, str], where: Path) -> dict[str, Tensor]:
    """Tensors by our names from those of a file; ``"decoder.weight.T"`` means transposed.

    Raises
    ------
    FormatError
        When one is missing.
    """
    missing = [theirs for theirs in names.values() if theirs.removesuffix(".T") not in tensors]
    if missing:
        raise FormatError(f"'{where}' lacks the tensors {missing}; it holds {sorted(map(str, tensors))}.")
    out = {}
    for ours, theirs in names.items():
        value = tensors[theirs.removesuffix(".T")]
        value = torch.as_tensor(value)
        out[ours] = value.T.contiguous() if theirs.endswith(".T") else value
    return out


def hook_name(site: str) -> str:
    """The name that TransformerLens has for a site of a block, which other libraries look for; any other site as it is.

    >>> hook_name("blocks.3.resid_post"), hook_name("layer1.conv2")
    ('blocks.3.hook_resid_post', 'layer1.conv2')
    """
    start, block, leaf = (site.split(".", 2) + ["", ""])[:3]
    theirs = {canonical(f"blocks.0.{hook}"): hook for hook in HOOKS}
    found = theirs.get(f"blocks.0.{leaf}") if start == "blocks" else None
    return site if found is None else f"blocks.{block}.{found}"


def make(where: Path, site: str, parts: dict[str, Any], *, width: int | None = None, cls: Any = SparseDictionary) -> Any:
    """A dictionary from its parts; what does not fit is an error of the file.

    `width` is what the file says of the input: matrices of a square or transposed shape are told apart by it.
    """
    found = parts["W_enc"].shape
    if width is not None and found[0] != width:
        hint = " It is stored transposed." if found[-1] == width else ""
        raise FormatError(f"'{where}': W_enc must be [{width}, latents] by its configuration, found {list(found)}.{hint}")
    try:
        return cls(canonical(site), **parts)
    except (ShapeError, UsageError) as error:
        raise FormatError(f"'{where}' does not hold a consistent dictionary: {error}") from error


def verify(dictionary: Any, recording: Any, *, said: str = "", first_token: bool | None = None) -> Any:
    """The dictionary with its figures on a recording, or a refusal that says what does not fit.

    Parameters
    ----------
    dictionary : SparseDictionary
    recording : Recording
        Of the dictionary's site (both sites, for a transcoder). None: nothing is checked.
    said : str
        What the file says of its origin, for the message.
    first_token : bool, optional
        Whether the dictionary was trained on first tokens (BOS); None where the file does not say.

    Raises
    ------
    SubjectMismatch
        When the site is another one, the width differs, or the reconstruction is worse than the mean (FVU above 1). The
        message says whether dropping first tokens, transposing the encoder, or a scale would help.
    """
    if recording is None:
        return dictionary
    reads = tuple(getattr(dictionary, "reads", ())) or (dictionary.site,)
    writes = getattr(dictionary, "writes", None)
    wanted = [*reads, *([writes] if isinstance(writes, str) else [])]
    absent = [s for s in wanted if s not in recording.sites]
    if absent:
        raise SubjectMismatch(f"the dictionary belongs to {wanted}, the recording holds {list(recording.sites)}. {said}")
    rows = recording.select(range(min(len(recording), CHECK_ROWS)))
    source, target = joined(recording, reads), recording[writes] if isinstance(writes, str) else None
    x, y = joined(rows, reads).matrix(), rows[writes or reads[0]].matrix() if len(reads) == 1 else joined(rows, reads).matrix()
    x, y = x.to(dictionary.W_enc.dtype), y.to(dictionary.W_enc.dtype)
    if x.shape[1] != dictionary.width:
        raise SubjectMismatch(f"the dictionary reads {dictionary.width} units, '{reads[0]}' has {x.shape[1]}. {said}")
    dictionary.metrics = reconstruction(source, dictionary, target=target)
    found = dictionary.metrics["fvu"]
    if _turned(dictionary, x, y) < 0.5 * fvu(y, dictionary(x)):
        raise SubjectMismatch(f"W_enc or W_dec is stored transposed: FVU is {found:.3g}, and far less turned. {said}".rstrip())
    if found <= 1:
        return dictionary
    advice = _advice(dictionary, rows, x, y, first_token)
    raise SubjectMismatch(f"FVU is {found:.3g} on {len(source)} rows, worse than the mean: {advice} {said}".rstrip())


def _turned(dictionary: Any, x: Tensor, y: Tensor) -> float:
    """FVU with square matrices transposed, one or both; infinite where they are not square and shapes tell."""
    if len(set(dictionary.W_enc.shape)) > 1 or len(set(dictionary.W_dec.shape)) > 1:
        return float("inf")
    ways = ({"W_enc": dictionary.W_enc.T}, {"W_dec": dictionary.W_dec.T})
    made = [type(dictionary).from_parts(dictionary.tensors() | way, dictionary.config(), site=dictionary.site, name="turned")
            for way in (*ways, ways[0] | ways[1])]  # fmt: skip
    return min(fvu(y, turned(x)) for turned in made)


def _advice(dictionary: Any, rows: Any, x: Tensor, y: Tensor, first_token: bool | None) -> str:
    """Which of the usual slips explains a misfit."""
    index = rows.index
    if "position" in index.columns:
        later = torch.from_numpy(index["position"].to_numpy() > 0)
        if bool(later.any()) and not bool(later.all()) and fvu(y[later], dictionary(x[later])) < 0.8:
            trained = " (it was trained without them)" if first_token is False else ""
            return f"first tokens do not fit{trained}; drop them: recording.select(recording.index.position > 0)."
    if dictionary.width == y.shape[1]:
        for what, scale in (("norm sqrt(d)", x.shape[1] ** 0.5 / float(x.norm(dim=1).mean())),
                            ("mean squared norm 1", float(x.square().sum(1).mean()) ** -0.5)):  # fmt: skip
            if fvu(y, dictionary(scale * x) / scale) < 0.8:
                return f"it expects inputs scaled to {what}: multiply by {scale:.4g} before encoding."
    return "layer, scaling or the first token do not fit."
