"""What goes into a run and comes out of it: tensors and frames, without copies where lifetimes allow."""

from __future__ import annotations

import ctypes
from ctypes import byref, c_int32, c_size_t
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from . import _abi, errors
from ._abi import DType, FrameInfo, Role
from ._library import lib
from ._structs import describe, ids_array

__all__ = ["Frame", "Tensor"]

_NUMPY: dict[int, Any] = {DType.I32: np.int32, DType.I64: np.int64, DType.F32: np.float32, DType.F16: np.float16}
_DTYPES = {np.dtype(kind): DType(code) for code, kind in _NUMPY.items()}
# DLPack's names of types: (code, bits).
_UNSIGNED, _BFLOAT = 1, 4

_pythonapi = ctypes.pythonapi
_pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p
_pythonapi.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


class _DLTensor(ctypes.Structure):
    """The beginning of DLPack's DLManagedTensor, up to the type of its elements."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    ]


class _Retyped:
    """What another library lends, with bfloat16, which numpy does not have, under the name of uint16."""

    def __init__(self, lender: Any) -> None:
        self.lender, self.was_bfloat = lender, False

    def __dlpack__(self, **_: Any) -> Any:
        capsule = self.lender.__dlpack__()
        tensor = _DLTensor.from_address(_pythonapi.PyCapsule_GetPointer(capsule, b"dltensor"))
        if (tensor.code, tensor.bits, tensor.lanes) == (_BFLOAT, 16, 1):
            tensor.code, self.was_bfloat = _UNSIGNED, True
        return capsule

    def __dlpack_device__(self) -> Any:
        return self.lender.__dlpack_device__()


class Tensor:
    """A tensor in memory of its own, which nothing changes: what a run gave, or another library lends.

    It is given to numpy and, by DLPack, to others without a copy:

    >>> import numpy
    >>> tensor = Tensor(numpy.ones((2, 3), numpy.float32))
    >>> tensor.shape, tensor.dtype.name
    ((2, 3), 'F32')
    >>> float(numpy.from_dlpack(tensor).sum())
    6.0
    """

    def __init__(self, array: NDArray[Any], dtype: DType | None = None) -> None:
        known = _DTYPES.get(array.dtype)
        if dtype is None and array.dtype.name == "bfloat16":
            array, dtype = array.view(np.uint16), DType.BF16
        if dtype is None and known is None:
            raise TypeError(f"tensors are int32, int64, float32, float16 or bfloat16, not {array.dtype}")
        self._array = np.ascontiguousarray(array)
        self._dtype: DType = dtype if dtype is not None else DType(known or 0)

    @property
    def dtype(self) -> DType:
        """The type of its elements."""
        return self._dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions."""
        return self._array.shape

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self._array.nbytes

    @classmethod
    def from_dlpack(cls, lender: Any) -> Tensor:
        """What another library has in the processor's memory, such as a tensor of PyTorch, without a copy."""
        retyped = _Retyped(lender)
        array = np.from_dlpack(retyped)
        return Tensor(array, DType.BF16 if retyped.was_bfloat else None)

    def numpy(self) -> NDArray[Any]:
        """The values as an array, without a copy; bfloat16, which numpy does not have, as float32."""
        if self._dtype == DType.BF16:
            return (self._array.astype(np.uint32) << 16).view(np.float32)
        return self._array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self, **how: Any) -> Any:
        if self._dtype != DType.BF16:
            return self._array.__dlpack__(**how)
        # DLPack's first version, which every library takes, has no word for memory that is read only.
        capsule = (self._array if self._array.flags.writeable else self._array.copy()).__dlpack__()
        _DLTensor.from_address(_pythonapi.PyCapsule_GetPointer(capsule, b"dltensor")).code = _BFLOAT
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> Any:
        return self.numpy()[index]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._dtype.name} {list(self.shape)}>"

    def _c(self) -> Any:
        """The C interface's description; the tensor must live as long as it is used."""
        array = self._array
        if array.ndim > 4:
            raise errors.InvalidArgument(f"a tensor has at most 4 dimensions, not {array.ndim}")
        shape = (ctypes.c_int64 * 4)(*array.shape)
        return _abi.ortshard_tensor(self._dtype, array.ndim, shape, array.ctypes.data, array.nbytes)


class Frame(Tensor):
    """Hidden states with all that says whose they are: what travels between shards in two processes.

    `Frame(data)` takes the bytes as they lie, from `bytes`, a `bytearray` or anything else with a buffer, and checks them whole.
    A request takes it like any input; one made with `output="frame"` gives frames.
    """

    def __init__(self, data: Any, *, checked: bool = False) -> None:
        array = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
        super().__init__(array.reshape(-1).view(np.uint8), DType.FRAME)
        if not checked:
            _ = self.info

    @property
    def info(self) -> FrameInfo:
        """What it says of itself. Raises `Malformed` if it is damaged."""
        return describe(FrameInfo, "ortshard_frame_get_info", self._array.ctypes.data, self.nbytes)

    @property
    def parts(self) -> list[tuple[Role | int, Tensor]]:
        """Its parts with their roles. The tensors lie in the frame; nothing is copied."""
        parts: list[tuple[Role | int, Tensor]] = []
        for index in range(self.info.part_count):
            role, tensor = c_int32(), _abi.ortshard_tensor()
            lib.ortshard_frame_get_part(self._array.ctypes.data, self.nbytes, index, byref(role), byref(tensor))
            start = tensor.data - self._array.ctypes.data
            raw = self._array[start : start + tensor.byte_length]
            array = raw.view(_NUMPY.get(tensor.dtype, np.uint16)).reshape(tensor.shape[: tensor.rank])
            array.flags.writeable = False
            known = role.value in Role.__members__.values()
            parts.append((Role(role.value) if known else role.value, Tensor(array, DType(tensor.dtype))))
        return parts

    @property
    def data(self) -> memoryview:
        """Its bytes, without a copy, for `socket.sendall()` and the like."""
        return self._array.data.cast("B").toreadonly()

    def __bytes__(self) -> bytes:
        return self._array.tobytes()

    @classmethod
    def read(cls, stream: BinaryIO, limit: int = 1 << 30) -> Frame:
        """Reads the next frame from a stream, such as `socket.makefile("rb")` or a pipe.

        More than `limit` bytes are refused before there is room made for them. EOFError: the stream ends before or within the frame.
        """
        start = cls._exactly(stream, bytearray(_abi.FRAME_START), 0)
        size = c_size_t()
        lib.ortshard_frame_size(bytes(start), len(start), byref(size))
        if size.value > limit:
            raise errors.InvalidArgument(f"the frame has {size.value} bytes, and the limit is {limit}")
        return cls(cls._exactly(stream, start + bytearray(size.value - len(start)), len(start)))

    @staticmethod
    def _exactly(stream: BinaryIO, into: bytearray, done: int) -> bytearray:
        while done < len(into):
            piece = stream.read(len(into) - done)
            if not piece:
                raise EOFError(f"the stream ended after {done} of {len(into)} bytes of a frame")
            into[done : done + len(piece)] = piece
            done += len(piece)
        return into


def as_input(value: Any) -> Tensor:
    """What a run takes, as a tensor: ids, arrays, what speaks DLPack, frames, and the bytes of a frame."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return Frame(value, checked=True)
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "iu" and value.dtype not in _DTYPES:
            return Tensor(ids_array(value).reshape(value.shape))
        return Tensor(value if value.dtype.isnative else value.astype(value.dtype.newbyteorder("=")))
    if hasattr(value, "__dlpack__"):
        return Tensor.from_dlpack(value)
    return Tensor(ids_array(value))


def copied(tensor: Any) -> Tensor:
    """A tensor of memory of its own with what `tensor` of the library describes."""
    # A frame in pieces has no data here.
    shape = tuple(tensor.shape[: tensor.rank]) if tensor.data or not tensor.byte_length else (0,)
    kind = np.uint8 if tensor.dtype == DType.FRAME else _NUMPY.get(tensor.dtype, np.uint16)
    array = np.empty(shape, kind)
    if array.nbytes:
        ctypes.memmove(array.ctypes.data, tensor.data, array.nbytes)
    return Frame(array, checked=True) if tensor.dtype == DType.FRAME else Tensor(array, DType(tensor.dtype))


def writable(out: NDArray[Any], kind: Any, name: str = "out") -> None:
    """Refuses what the library cannot write into."""
    if not (isinstance(out, np.ndarray) and out.flags.c_contiguous and out.flags.writeable):
        raise TypeError(f"{name} must be a writable array of numpy whose values lie one after another")
    if kind is not None and out.dtype != kind:
        raise TypeError(f"{name} must be an array of {np.dtype(kind)}, not {out.dtype}")


def lying_in(out: NDArray[Any], output: Any) -> Tensor:
    """The tensor that the library wrote to the beginning of `out`."""
    flat = out.reshape(-1).view(np.uint8)[: output.byte_length]
    if output.dtype == DType.FRAME:
        return Frame(flat, checked=True)
    kind: Any = {DType.F32: np.float32, DType.F16: np.float16}.get(output.dtype, np.uint16)
    return Tensor(flat.view(kind).reshape(tuple(output.shape[: output.rank])), DType(output.dtype))
