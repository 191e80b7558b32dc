"""Read a saved basis back, whatever its kind: `basis.json` names the kind, `basis.safetensors` holds the tensors."""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from microtome import io
from microtome.errors import FormatError, IntegrityError, ShapeError, nearest

if TYPE_CHECKING:
    from microtome.subject.basis import StoredBasis

#: Kind written in a saved basis -> where its class is. Names, so that no room above is imported before it is needed.
KINDS = {
    "identity": "microtome.subject.basis:Identity",
    "linear": "microtome.subject.basis:Linear",
    "aligned_linear": "microtome.trace.alignment.basis:AlignedLinear",
    "aligned_revnet": "microtome.trace.alignment.basis:AlignedRevNet",
    "sparse_dictionary": "microtome.decompose.dictionary:SparseDictionary",
    "transcoder": "microtome.decompose.transcoding:Transcoder",
    "crosscoder": "microtome.decompose.transcoding:Crosscoder",
    "row_normalised": "microtome.decompose.formats.openai:RowNormalised",
    "pursuit": "microtome.decompose.pursuit:PursuitDictionary",
    "cross_layer_transcoder": "microtome.decompose.cross_layer:CrossLayerTranscoder",
    "coupled_nmf": "microtome.decompose.coupled_nmf:CoupledParts",
    "nmf": "microtome.decompose.nmf:NonNegativeParts",
    "functions": "microtome.decompose.functions:FunctionDictionary",
    "kmeans": "microtome.decompose.kmeans:Centres",
}


def load_basis(folder: str | Path) -> "StoredBasis":
    """Read a basis that `save` wrote, whatever its kind.

    Raises
    ------
    FormatError
        When the folder holds no basis, an unknown kind, or parts that do not fit together.
    IntegrityError
        When the tensors no longer match the hash written beside them.
    """
    folder = Path(folder)
    about = io.read_json(folder / "basis.json")
    kind = about.get("kind") if isinstance(about, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise FormatError(f"'{folder}' holds kind {kind!r}.{nearest(str(kind), KINDS)} Known: {list(KINDS)}.")
    # Copies are aligned as fresh tensors are: matrix products depend on alignment in their last bits.
    tensors = {name: t.clone() for name, t in io.read_tensors(folder / "basis.safetensors").items()}
    if io.hash_tensors(tensors) != about.get("hash"):
        raise IntegrityError(f"the tensors in '{folder}' no longer match the hash in basis.json; restore or refit.")
    module, _, cls = KINDS[kind].partition(":")
    try:
        who = {key: about[key] for key in ("site", "name", "names", "subject")}
        basis = getattr(importlib.import_module(module), cls).from_parts(tensors, about["config"], **who)
        basis.metrics = {str(k): float(v) for k, v in about["metrics"].items()}
        basis.history = dict(about["history"])
    except (KeyError, TypeError, AttributeError, ShapeError) as error:
        raise FormatError(f"'{folder}' is not a complete basis of kind {kind!r}: {error!r}.") from error
    return basis
