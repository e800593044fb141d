"""valuelab: the helper library of a course on value alignment of language models.

Rooms, in the order in which data flows: values, taxonomies, data, world, kernels, models, activations,
measure, probes, steering, rewards, rlhf, weights, plots, evaluate, course. A module imports from rooms
above it only.
"""

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

try:
    __version__ = version("valuelab")
except PackageNotFoundError:  # run from a checkout with PYTHONPATH=lib
    __version__ = "0.1.0"


def exports(package: str, homes: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """`__all__`, `__getattr__` and `__dir__` of a package that imports a module when a name of it is asked for.

    So the pure functions of a room stay quick to import beside modules that need a whole model. Inside the library
    and in lessons, import from the modules: what a lesson was made from is read from its import statements.

    Args:
        package: its `__name__`.
        homes: {module: the names it gives, separated by spaces}.
    """
    module_of = {name: module for module, names in homes.items() for name in names.split()}

    def find(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)

    return sorted(module_of), find, lambda: sorted({*module_of, *vars(importlib.import_module(package))})
