"""Values in the weights: task arithmetic, preference vectors, and where in training values settle.

arithmetic.py   pure functions on state dicts and vectors      tuning.py   short runs: replies, DPO
editing.py      in a living model, and in files                stances.py  stances over checkpoints
voices.py       data for such runs, from the planted world     lora.py     low-rank adapters
"""

from valuelab.weights.arithmetic import (
    Vector,
    VectorError,
    analogy,
    apply,
    combine,
    cosine,
    difference,
    interpolate,
    mixing_weights,
    negate,
    norm,
    overlap,
    preference_and_drift,
    random_like,
    scale,
    task_vector,
)
from valuelab.weights.editing import clone, edited, load, mixed, save, weights_of
from valuelab.weights.lora import Lora
from valuelab.weights.stances import Drift, drift, drift_time, magnitude_interval
from valuelab.weights.tuning import (
    Pairs,
    TuneConfig,
    dpo_loss,
    preference_vector,
    prepare_pairs,
    reply_log_probs,
    train_dpo,
    train_replies,
)
from valuelab.weights.voices import answering_shape, pretraining_stances, voice_replies, without_gap

__all__ = [
    "Drift",
    "Lora",
    "Pairs",
    "TuneConfig",
    "Vector",
    "VectorError",
    "analogy",
    "answering_shape",
    "apply",
    "clone",
    "combine",
    "cosine",
    "difference",
    "dpo_loss",
    "drift",
    "drift_time",
    "edited",
    "interpolate",
    "load",
    "magnitude_interval",
    "mixed",
    "mixing_weights",
    "negate",
    "norm",
    "overlap",
    "preference_and_drift",
    "preference_vector",
    "prepare_pairs",
    "pretraining_stances",
    "random_like",
    "reply_log_probs",
    "save",
    "scale",
    "task_vector",
    "train_dpo",
    "train_replies",
    "voice_replies",
    "weights_of",
    "without_gap",
]
