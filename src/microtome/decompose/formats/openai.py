"""OpenAI's sparse autoencoders: a state dict, with each row normalised by itself for TopK."""

import io as bytes_io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microtome import io
from microtome.decompose.dictionary import SparseDictionary
from microtome.decompose.formats.common import make, take, verify
from microtome.errors import FormatError, UsageError

NAMES = {"W_enc": "encoder.weight.T", "b_enc": "latent_bias", "W_dec": "decoder.weight.T", "b_dec": "pre_bias"}
EPS = 1e-5


class RowNormalised(SparseDictionary):
    """A dictionary of rows brought to mean 0 and standard deviation 1 each, ``u = (x - m) / (s + 1e-5)``, ``x' = u' s + m``.

    Codes are given in the units of x (times s), so that ``decode`` is linear in them; what m and s themselves write,
    ``m + s b_dec``, is not part of the code (`bypass`).
    """

    kind = "row_normalised"

    def encode(self, x: Tensor) -> Tensor:
        mean, size = _moments(x)
        return super().encode((x - mean) / (size + EPS)) * size

    def encode_sparse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, size = _moments(x)
        indices, values = super().encode_sparse((x - mean) / (size + EPS))
        return indices, values * size

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z) - self.b_dec.to(z)

    def decode_sparse(self, indices: Tensor, values: Tensor) -> Tensor:
        return super().decode_sparse(indices, values) - self.b_dec.to(values)

    def bypass(self, x: Tensor) -> Tensor:
        """What the row's own mean and size write."""
        mean, size = _moments(x)
        return mean + size * self.b_dec.to(x)

    def __call__(self, x: Tensor) -> Tensor:
        """What is rebuilt from x."""
        return self.decode(self.encode(x)) + self.bypass(x)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    mean = x.mean(-1, keepdim=True)
    return mean, (x - mean).std(-1, keepdim=True)


def load_openai(path: str | Path, *, site: str, recording: Any = None) -> SparseDictionary:
    """Read a state dict of OpenAI's sparse autoencoders.

    Parameters
    ----------
    path : path
        The .pt file.
    site : str
        Which the file does not say.
    recording : Recording, optional
        To check the dictionary on; see `formats.common.verify`.

    Returns
    -------
    SparseDictionary
        `RowNormalised` for TopK, as those were trained.

    Raises
    ------
    FormatError
        When a tensor is missing or transposed, or the activation is not known.
    SubjectMismatch
        When the recording does not fit.
    """
    path = Path(path)
    state = io.read_torch(path)
    if not isinstance(state, dict):
        raise FormatError(f"'{path}' must hold a state dict, found {type(state).__name__}.")
    parts: dict[str, Any] = take(state, NAMES, path)
    kind = state.get("activation", "ReLU")
    if kind == "TopK":
        about = state.get("activation_state_dict")
        inner: dict[str, Any] = about if isinstance(about, dict) else {}
        k = inner.get("k")
        if not isinstance(k, (int, Tensor)):
            raise FormatError(f"'{path}' holds a TopK autoencoder without its k.")
        if inner.get("postact_fn", "ReLU") != "ReLU":
            raise FormatError(f"'{path}' applies {inner['postact_fn']!r} to the k largest; only 'ReLU' is read.")
        made = make(path, site, parts | {"activation": "topk", "k": int(k)}, cls=RowNormalised)
    elif kind == "ReLU":
        made = make(path, site, parts | {"activation": "relu"})
    else:
        raise FormatError(f"'{path}' holds the activation {kind!r}; 'TopK' and 'ReLU' are read.")
    made.name = "openai"
    return verify(made, recording)


def save_openai(dictionary: SparseDictionary, path: str | Path) -> None:
    """Write a `RowNormalised` TopK dictionary, or a ReLU one, as OpenAI's library reads it.

    Raises
    ------
    UsageError
        When it is neither, or does not take b_dec from its input.
    """
    topk = isinstance(dictionary, RowNormalised) and dictionary.activation == "topk"
    plain = type(dictionary) is SparseDictionary and dictionary.activation == "relu"
    if not (topk or plain) or not dictionary.centred:
        raise UsageError("OpenAI's format holds ReLU dictionaries, and TopK ones of rows that are normalised one by one.")
    state: dict[str, Any] = {}
    for ours, theirs in NAMES.items():
        value = dictionary.tensors()[ours].detach().cpu()
        state[theirs.removesuffix(".T")] = (value.T if theirs.endswith(".T") else value).contiguous()
    # What its training counts per latent, at the values of a fresh autoencoder: a strict reader misses them otherwise.
    state["stats_last_nonzero"] = torch.zeros(dictionary.dim, dtype=torch.long)
    state |= {"latents_activation_frequency": torch.ones(dictionary.dim), "latents_mean_square": torch.zeros(dictionary.dim)}
    state |= (
        {"activation": "TopK", "activation_state_dict": {"k": dictionary.k, "postact_fn": "ReLU"}}
        if topk
        else {"activation": "ReLU", "activation_state_dict": {}}
    )
    buffer = bytes_io.BytesIO()
    torch.save(state, buffer)
    io.write_bytes(Path(path), buffer.getvalue())
