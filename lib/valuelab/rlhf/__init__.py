"""Policy optimisation from rewards, written out small.

    kl          estimators of KL from samples: their values, and what they are worth as a loss
    losses      advantages, policy losses, entropy control, histogram critics: pure functions
    loop        one training loop: sample, score, advantages, loss, step; checkpoints bit for bit
    experiment  gold against proxy over measured KL, on the planted world: one run, and reading many
    sweep       all runs of the experiment as a command: workers, resumable, stopped without traces
    laws        what is fitted to runs: over-optimisation over KL, reward over entropy

The common names can be imported from here; a module is loaded when a name of it is asked for.
"""

from valuelab import exports

__all__, __getattr__, __dir__ = exports(__name__, {
    "kl": "exact_kl gradient_as_loss k1 k2 k3",
    "losses": "clip_cov clipped_loss entropy_bonus gae group_normalised group_policy_loss hl_gauss_targets "
              "hl_gauss_value kl_cov kl_cov_loss kl_in_loss kl_in_reward leave_one_out masked_mean reinforce_loss "
              "sequence_policy_loss",
    "loop": "Config Critic Result Rollout Trainer read_metrics reread sample_groups train",
    "laws": "EntropyLaw fit_entropy_law fit_overoptimisation turning_point",
})  # fmt: skip
