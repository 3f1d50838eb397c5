"""Ministral: layer_types says which layers have a window."""

from variants import Cases

CONFIG = {"model_type": "ministral", "architectures": ["MinistralForCausalLM"], "sliding_window": 64}
CASES = Cases()
case, without = CASES.case, CASES.without
case("sliding_window", 0, -1)
