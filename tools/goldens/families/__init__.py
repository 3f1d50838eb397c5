"""The families: for each its tiny models, and the variants of config.json that it has beside those of all."""

import importlib
import pkgutil
from types import ModuleType

FAMILIES: dict[str, ModuleType] = {
    module.name: importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)
}
