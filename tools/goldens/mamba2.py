"""What families with Mamba-2 layers have in common: the layers' weights."""

from tensors import Random, bias, matrix, norm
from torch import Tensor


def mixer(at: str, hidden: int, inner: int, heads: int, groups: int, state: int, taps: int) -> dict[str, Random]:
    """The tensors of one layer under the module `at`, with every bias."""
    channels = inner + 2 * groups * state
    return {
        f"{at}.in_proj.weight": matrix(inner + channels + heads, hidden),
        f"{at}.in_proj.bias": bias(inner + channels + heads),
        f"{at}.conv1d.weight": Random((channels, 1, taps), spread=0.8),
        f"{at}.conv1d.bias": bias(channels),
        f"{at}.A_log": Random((heads,), around=-1.0, spread=0.7),
        f"{at}.D": Random((heads,), around=1.0, spread=0.3),
        f"{at}.dt_bias": Random((heads,), around=-1.0),
        f"{at}.norm.weight": norm(inner),
        f"{at}.out_proj.weight": matrix(hidden, inner),
        f"{at}.out_proj.bias": bias(hidden),
    }


def values(name: str, noise: Tensor) -> Tensor | None:
    """Heads that forget at rates that differ, some of them slowly."""
    if name.endswith("A_log"):
        return 0.7 * noise - 1
    if name.endswith("dt_bias"):
        return noise - 1
    return 1 + 0.3 * noise if name.endswith(".D") else None
