"""valuelab: the helper library of a course on value alignment of language models.

Rooms, in the order in which data flows: values, taxonomies, data, world, kernels, models, activations,
measure, probes, steering, rewards, rlhf, weights, plots, evaluate, course. A module imports from rooms
above it only.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("valuelab")
except PackageNotFoundError:  # run from a checkout with PYTHONPATH=lib
    __version__ = "0.1.0"
