"""Python functions that the library calls: progress, files, logs. No exception in one is lost, and none outlives the interpreter."""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from . import _abi, errors
from ._abi import LogLevel, Progress, Stage, Status
from ._library import here, lib, raw
from ._structs import read

__all__ = ["log_to"]

#: Is told how far loading is. True cancels it, as does an exception, which then comes out of the loading call.
ProgressCallback = Callable[[Progress], bool | None]
#: None: silent. True: a tqdm bar where tqdm is installed.
ProgressOption = ProgressCallback | bool | None

# `user_data` is left out: an argument that the caller passes and the callee does not take.
_ONE_POINTER = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p)

_running = threading.Condition()
_count = 0
_exiting = False


@contextmanager
def watched(tell: Callable[[Any], object], layout: type[ctypes.Structure]) -> Iterator[Any]:
    """A C callback that gives each struct of `layout` to `tell`. What `tell` raises is raised at the end of the block, where the
    call that was stopped by it has come back."""
    raised: list[BaseException] = []

    def loop() -> Generator[int, int, None]:
        stop = 0
        while True:
            try:
                # Python handles signals where a function begins. A generator goes on within its `try`, so that Ctrl-C while the
                # library works is an exception like any other here.
                address = yield stop
                stop = 1 if _exiting or tell(layout.from_address(address)) is True else 0
            except GeneratorExit:
                return
            except BaseException as error:
                raised.append(error)
                stop = 1

    generator = loop()
    next(generator)
    global _count
    with _running:
        _count += 1
    try:
        yield _ONE_POINTER(generator.send)
    except errors.Error as error:
        if raised:
            raise raised[0] from error
        if not (_exiting and _is_daemon()):
            raise
    finally:
        with _running:
            _count -= 1
            _running.notify_all()
    if _exiting and _is_daemon():
        # As Python has it: a daemon's work just stops, and nobody hears of it.
        threading.Event().wait()
    if raised:
        raise raised[0]


def _is_daemon() -> bool:
    return threading.current_thread().daemon


@contextmanager
def loading(progress: ProgressOption) -> Iterator[Any]:
    """The progress callback of a loading call. There always is one: it is where Ctrl-C is noticed."""
    bar = _Bar() if progress is True else None
    tell = bar.tell if bar else progress if callable(progress) else None
    try:
        with watched(lambda struct: tell(read(Progress, struct)) if tell else None, _abi.ortshard_progress) as callback:
            yield callback
    finally:
        if bar:
            bar.close()


class _Bar:
    """A tqdm bar over the bytes of a load; nothing where tqdm is not installed."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.stage: object = None

    def tell(self, progress: Progress) -> None:
        try:
            from tqdm import tqdm  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            return
        if progress.stage != self.stage:
            self.close()
            self.stage = progress.stage
            name = progress.stage.name.lower() if isinstance(progress.stage, Stage) else "loading"
            total = progress.bytes_total or None
            self.bar = tqdm(total=total, desc=name, unit="B", unit_scale=True, leave=False, disable=None)
        if progress.bytes_total:
            self.bar.total = progress.bytes_total
        self.bar.update(progress.bytes_done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.bar = None


class Fetcher:
    """A fetch callback. What the Python function raises comes out of the call that needed the file."""

    def __init__(self, fetch: _abi.Fetch) -> None:
        self.fetch = fetch
        self.raised: list[BaseException] = []
        self.callback = _abi.ortshard_fetch_callback(self._called)

    def _called(self, model: bytes, revision: bytes | None, file: bytes, path: int, capacity: int, _data: object) -> int:
        held, here.held = here.held, True
        try:
            found = os.fsencode(self.fetch(model.decode(), revision.decode() if revision else None, file.decode())) + b"\0"
            if len(found) > capacity:
                raise errors.BufferTooSmall(f"the path of {file.decode()} is longer than {capacity - 1} bytes")
            ctypes.memmove(path, found, len(found))
            return Status.OK
        except FileNotFoundError:
            return Status.NOT_FOUND
        except BaseException as error:
            self.raised.append(error)
            return Status.IO
        finally:
            here.held = held

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Turns an error of the library that came from the function into what the function raised."""
        try:
            yield
        except errors.Error:
            if self.raised:
                raise self.raised.pop()
            raise


_log: Any = None
_LEVELS = {
    LogLevel.ERROR: logging.ERROR,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.INFO: logging.INFO,
    LogLevel.DEBUG: logging.DEBUG,
}


def log_to(
    target: logging.Logger | Callable[[LogLevel, str, str], object] | None, level: LogLevel | str | int = LogLevel.WARNING
) -> None:
    """Sends the library's messages up to `level` to a logger of `logging`, or to a function of (level, part, message); None: nowhere.

    The function is called from any thread. It must not load, run or clear; what it raises goes to `sys.unraisablehook`.
    """
    global _log
    if target is None:
        callback = None
    else:
        level = LogLevel[level.upper()] if isinstance(level, str) else LogLevel(level)
        callback = _abi.ortshard_log_callback(_logging(target))
    lib.ortshard_log_set_callback(int(level), callback and ctypes.cast(callback, ctypes.c_void_p), None)
    _log = callback


def _logging(target: Any) -> Callable[[int, bytes, bytes, object], None]:
    def tell(level: int, part: bytes, message: bytes, _data: object) -> None:
        # The collector may run here and find what would have to be freed, which a log callback must not.
        held, here.held = here.held, True
        try:
            name, text = part.decode("utf-8", "replace"), message.decode("utf-8", "replace")
            if isinstance(target, logging.Logger):
                target.log(_LEVELS.get(LogLevel(level), logging.DEBUG - 5), "%s: %s", name, text)
            else:
                target(LogLevel(level), name, text)
        finally:
            here.held = held

    return tell


def _in_child() -> None:
    """After a fork: the calls of other threads stayed in the parent."""
    global _running, _count
    _running, _count = threading.Condition(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


@atexit.register
def _leave() -> None:
    """Before the interpreter ends, nothing of it may be called any more: logs stop, and loads are cancelled and waited for."""
    global _exiting, _log
    _exiting = True
    raw("ortshard_log_set_callback")(0, None, None)
    _log = None
    end = time.monotonic() + 10
    with _running:
        while _count and time.monotonic() < end and not sys.is_finalizing():
            _running.wait(0.1)
