"""Rewards: transform them, combine them, and compare what follows, exactly where that is possible.

    transforms   pure functions: log-sigmoid-centred, utilities, AND, OR, risk, value weights
    features     hand-made features and domain knowledge as a prior
    reference    reference rewards per prompt, cached and predicted
    exact        KL-optimal policies and best-of-n on finite sets of replies
    laboratory   the honest table: where the raw reward is better and where the transform is
    combination  palettes of constraints (MAP), certificates, Pareto fronts
"""
