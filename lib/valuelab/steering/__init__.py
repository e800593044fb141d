"""Steering: shift hidden states so that the model shows a value, and say what was done."""

from valuelab.steering.controller import Control, steer
from valuelab.steering.gate import Gate
from valuelab.steering.plan import Plan, Shift, add, choose_layers, minimal, remove
from valuelab.steering.scope import Tokens
from valuelab.steering.shift import (
    ablate,
    additive_shift,
    joint_shift,
    logit,
    minimal_shift,
    project,
    sequential_shift,
    solve_lcp,
)
from valuelab.steering.vectors import VectorFileError, export_gguf, import_gguf, load, save

__all__ = [
    "Control",
    "Gate",
    "Plan",
    "Shift",
    "Tokens",
    "VectorFileError",
    "ablate",
    "add",
    "additive_shift",
    "choose_layers",
    "export_gguf",
    "import_gguf",
    "joint_shift",
    "load",
    "logit",
    "minimal",
    "minimal_shift",
    "project",
    "remove",
    "save",
    "sequential_shift",
    "solve_lcp",
    "steer",
]
