"""How a tensor lies in a safetensors file: its code, its place among the others, its bytes."""

import sys
from typing import TYPE_CHECKING, Any

from microtome.errors import UsageError

if TYPE_CHECKING:
    import torch

#: Codes of the format and names of torch's dtypes, in the order in which the safetensors library lays tensors out: wide
#: types first, so that every tensor starts at a multiple of its element size.
DTYPES = {
    "U64": "uint64", "I64": "int64", "F64": "float64", "C64": "complex64", "F32": "float32", "U32": "uint32",
    "I32": "int32", "BF16": "bfloat16", "F16": "float16", "U16": "uint16", "I16": "int16",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip


def dense(name: str, tensor: Any) -> "torch.Tensor":
    """The tensor on the CPU in one piece; its own memory where it already lies so."""
    import torch

    if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_meta:
        raise UsageError(
            f"cannot write {name!r}: a dense tensor with values is needed, got {type(tensor).__name__}. "
            "Use .to_dense(), or torch.as_tensor for an array."
        )
    return tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()


def code_of(name: str, tensor: "torch.Tensor") -> str:
    """The format's code of the tensor's dtype."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    for code, known in DTYPES.items():
        if known == dtype:
            return code
    raise UsageError(f"cannot write {name!r}: safetensors has no {dtype}. Convert it first, e.g. with .to(torch.float32).")


def memory_of(tensor: "torch.Tensor") -> memoryview:
    """The bytes of a dense tensor, little-endian as the format wants them, not copied."""
    import torch

    values = tensor.reshape(-1).view(torch.uint8).numpy()
    if sys.byteorder == "big":
        size = tensor.element_size() // (2 if tensor.is_complex() else 1)
        values = values.reshape(-1, size)[:, ::-1].copy().reshape(-1)
    return memoryview(values)
