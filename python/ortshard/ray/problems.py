"""What goes wrong with many machines, beside what goes wrong on one."""

from __future__ import annotations

from .. import errors

__all__ = ["NoCapacity", "OtherWeights"]


class NoCapacity(errors.ResourceError):
    """No machine has room for a stage, or for what a request needs."""


class OtherWeights(errors.SourceError):
    """A machine has other files of the model, such as a fine-tune, or another version of the library."""
