"""Policy optimisation from rewards, written out small.

    kl          estimators of KL from samples: their values, and what they are worth as a loss
    losses      advantages, policy losses, entropy control, histogram critics: pure functions
    loop        one training loop: sample, score, advantages, loss, step; checkpoints bit for bit
    experiment  gold against proxy over measured KL, on the planted world: one run, and reading many
    sweep       all runs of the experiment as a command: workers, resumable, stopped without traces
    laws        what is fitted to runs: over-optimisation over KL, reward over entropy
"""
