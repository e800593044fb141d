"""Steering: shift hidden states so that the model shows a value, and say what was done."""

from valuelab.steering.controller import Control, steer
from valuelab.steering.distillation import distil
from valuelab.steering.effects import (
    anti_steerable_share,
    circle_correlation,
    gain_kept,
    leakage_matrix,
)
from valuelab.steering.gate import Gate, gated, opens
from valuelab.steering.levels import level_probe
from valuelab.steering.plan import Plan, Shift, add, choose_layers, minimal, remove
from valuelab.steering.scope import Tokens
from valuelab.steering.shift import (
    ablate,
    additive_shift,
    gauss_seidel_sweep,
    joint_shift,
    logit,
    minimal_shift,
    project,
    sequential_shift,
    solve_lcp,
)
from valuelab.steering.transfer import (
    Alignment,
    align,
    align_models,
    matching_layers,
    random_alignment,
    shuffled_alignment,
    transfer,
    unlock,
)
from valuelab.steering.vectors import VectorFileError, export_gguf, import_gguf, load, save

__all__ = [
    "Alignment",
    "Control",
    "Gate",
    "Plan",
    "Shift",
    "Tokens",
    "VectorFileError",
    "ablate",
    "add",
    "additive_shift",
    "align",
    "align_models",
    "anti_steerable_share",
    "choose_layers",
    "circle_correlation",
    "distil",
    "export_gguf",
    "gain_kept",
    "gated",
    "gauss_seidel_sweep",
    "import_gguf",
    "joint_shift",
    "leakage_matrix",
    "level_probe",
    "load",
    "logit",
    "matching_layers",
    "minimal",
    "minimal_shift",
    "opens",
    "project",
    "random_alignment",
    "remove",
    "save",
    "sequential_shift",
    "shuffled_alignment",
    "solve_lcp",
    "steer",
    "transfer",
    "unlock",
]
