"""The limit of decoding: how fast this machine's memory is read, by memory.c."""

import ctypes
from typing import Any

SECONDS = 0.8


def measure(options: dict[str, Any], threads: int) -> dict[str, float]:
    read_bandwidth = ctypes.CDLL(options["library"]).read_bandwidth
    read_bandwidth.restype = ctypes.c_double
    read_bandwidth.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_double]
    bandwidth = read_bandwidth(options["file"].encode(), threads, SECONDS)
    if bandwidth <= 0:
        raise RuntimeError(f"cannot map {options['file']} and read it with {threads} threads")
    return {"bandwidth": bandwidth}
