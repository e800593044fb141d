"""Fused kernels of the steering step and of the training losses, each beside its torch reference.

Compiled Triton on a CUDA tensor, torch on any other, Triton's interpreter when asked (see
`backend`). Importing this never imports Triton.

    packed = settings(bias=-0.3, target=2.2, side="at least", device=h.device)
    h = steer(h, w, packed, gate=is_reply)                      one value
    probes = prepare(W, h.dtype); h = steer_joint(h, probes, settings(b, t, sides))    up to 16
    log_prob, entropy = token_log_prob(logits, tokens)
"""

from .backend import available, choose, start_interpreter, using
from .joint import JointProbes, prepare, steer_joint, steer_joint_reference
from .logprob import linear_log_prob, token_log_prob, token_log_prob_reference
from .norm import add_steer_norm, add_steer_norm_reference
from .pairs import pair_loss, pair_loss_reference
from .shift import SIDES, settings, steer, steer_reference

__all__ = [
    "SIDES",
    "JointProbes",
    "add_steer_norm",
    "add_steer_norm_reference",
    "available",
    "choose",
    "linear_log_prob",
    "pair_loss",
    "pair_loss_reference",
    "prepare",
    "settings",
    "start_interpreter",
    "steer",
    "steer_joint",
    "steer_joint_reference",
    "steer_reference",
    "token_log_prob",
    "token_log_prob_reference",
    "using",
]
