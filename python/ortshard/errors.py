"""What can go wrong: one exception for each status of the C interface, in five groups.

Where Python has an exception of that meaning, too, ours is one: `OutOfRange` is a `ValueError`, `NotFound` a `FileNotFoundError`,
`OutOfMemory` a `MemoryError`. docs/errors.md says what to do about each.
"""

from __future__ import annotations

from ._abi import OomSite, Status

__all__ = [
    "ArgumentError",
    "BufferTooSmall",
    "Cancelled",
    "ContextFull",
    "DeviceUnavailable",
    "Error",
    "HashMismatch",
    "Internal",
    "InvalidArgument",
    "InvalidState",
    "InvalidUtf8",
    "IoError",
    "LibraryError",
    "Malformed",
    "NotFound",
    "NullArgument",
    "Offline",
    "OnnxRuntimeFailed",
    "OnnxRuntimeNotFound",
    "OutOfMemory",
    "OutOfRange",
    "Panic",
    "ResourceError",
    "SourceError",
    "StaleShard",
    "StateError",
    "Unsupported",
    "VersionMismatch",
]


class Error(Exception):
    """A call that failed and changed nothing.

    `status` is the C interface's status, or None where Python found the mistake before the library was called.
    """

    status: Status | int | None = None


class ArgumentError(Error, ValueError):
    """An argument is not what the function takes."""


class SourceError(Error):
    """A model or file is missing, broken or not supported."""


class StateError(Error, RuntimeError):
    """The object cannot do this now."""


class ResourceError(Error):
    """The machine lacks something."""


class LibraryError(Error):
    """A bug in the library: please report it."""


class NullArgument(ArgumentError):
    """A pointer that must not be NULL is."""


class InvalidArgument(ArgumentError):
    """An argument or option has a value that is not allowed."""


class InvalidUtf8(ArgumentError):
    """A text is not UTF-8."""


class OutOfRange(ArgumentError):
    """An index, token id, layer, position or number lies outside its range."""


class BufferTooSmall(ArgumentError):
    """A buffer cannot hold the answer."""


class VersionMismatch(ArgumentError):
    """An option is set that this version of the library does not know."""


class NotFound(SourceError, FileNotFoundError):
    """A file, folder or tensor does not exist."""


class IoError(SourceError, OSError):
    """Reading, writing or mapping a file failed."""


class Malformed(SourceError, ValueError):
    """A file's content breaks its own format or contradicts another file."""


class Unsupported(SourceError, NotImplementedError):
    """The input is well formed, but this library cannot run it."""


class Offline(SourceError, OSError):
    """The network would be needed, and is not to be used."""


class HashMismatch(SourceError, ValueError):
    """A file does not have the hash it should."""


class InvalidState(StateError):
    """The call does not fit the object's present state, or another thread uses the object right now."""


class StaleShard(StateError):
    """The shard behind this request was replaced or cleared."""


class ContextFull(StateError):
    """The tokens do not fit into the rest of the request's capacity."""


class Cancelled(StateError):
    """The work was cancelled."""


class OnnxRuntimeNotFound(ResourceError):
    """No usable ONNX Runtime library was found."""


class OnnxRuntimeFailed(ResourceError):
    """ONNX Runtime reported a failure that is none of the others."""


class OutOfMemory(ResourceError, MemoryError):
    """Memory ran out.

    `site` is where: while a shard was loaded, a KV cache was reserved, or in a run. `device` is whose memory it was, such as "cpu",
    and `requested_bytes` how much was asked for; 0 where the failing allocator does not say.
    """

    site: OomSite | int | None = None
    device: str = ""
    requested_bytes: int = 0


class DeviceUnavailable(ResourceError):
    """The device asked for does not exist or cannot be used here."""


class Internal(LibraryError):
    """A broken invariant of the library: a bug, please report it."""


class Panic(LibraryError):
    """The library crashed inside the call: a bug, please report it. The process goes on."""


#: The exception of each status.
_BY_STATUS: dict[int, type[Error]] = {
    Status.NULL_ARGUMENT: NullArgument,
    Status.INVALID_ARGUMENT: InvalidArgument,
    Status.INVALID_UTF8: InvalidUtf8,
    Status.OUT_OF_RANGE: OutOfRange,
    Status.BUFFER_TOO_SMALL: BufferTooSmall,
    Status.VERSION_MISMATCH: VersionMismatch,
    Status.NOT_FOUND: NotFound,
    Status.IO: IoError,
    Status.MALFORMED: Malformed,
    Status.UNSUPPORTED: Unsupported,
    Status.OFFLINE: Offline,
    Status.HASH_MISMATCH: HashMismatch,
    Status.INVALID_STATE: InvalidState,
    Status.STALE_SHARD: StaleShard,
    Status.CONTEXT_FULL: ContextFull,
    Status.CANCELLED: Cancelled,
    Status.ONNXRUNTIME_NOT_FOUND: OnnxRuntimeNotFound,
    Status.ONNXRUNTIME: OnnxRuntimeFailed,
    Status.OUT_OF_MEMORY: OutOfMemory,
    Status.DEVICE_UNAVAILABLE: DeviceUnavailable,
    Status.INTERNAL: Internal,
    Status.PANIC: Panic,
}
#: Those of statuses that this version does not know, by their hundreds.
_BY_GROUP: dict[int, type[Error]] = {1: ArgumentError, 2: SourceError, 3: StateError, 4: ResourceError, 9: LibraryError}


def kind_of(status: int) -> type[Error]:
    """The exception of `status`."""
    return _BY_STATUS.get(status) or _BY_GROUP.get(status // 100, Error)
