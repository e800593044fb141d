"""Rewards: learn them from comparisons, transform them, combine them, and compare what follows.

    preferences   comparisons to learn from: of the planted world, of the course, of any dataset
    reward_model  Bradley-Terry reward models on any causal language model, and linear heads
    calibration   is a reward a probability in disguise? likelihood, reliability, length
    decomposed    many preference directions from one set of features, mixed at test time
    transforms    pure functions: log-sigmoid-centred, utilities, AND, OR, risk, value weights
    features      hand-made features and domain knowledge as a prior
    relevance     a rival without any preference: long enough, on the subject, not repetitive
    reference     reference rewards per prompt, cached and predicted
    exact         KL-optimal policies and best-of-n on finite sets of replies
    laboratory    the honest table: where the raw reward is better and where the transform is
    combination   palettes of constraints (MAP), certificates, Pareto fronts
    plugins       the transforms as reward functions of TRL, OpenRLHF and verl

The common names can be imported from here; a module is loaded when a name of it is asked for.
"""

from valuelab import exports

__all__, __getattr__, __dir__ = exports(__name__, {
    "preferences": "Comparison course_comparisons from_records gold_reward shuffled world_comparisons",
    "reward_model": "LinearReward RewardConfig RewardModel fit_context fit_linear_reward margin_scaled_loss "
                    "pair_features pair_loss pair_loss_gradient reply_features train_reward_model",
    "calibration": "Calibration accuracy disagreement fit_temperature length_correlation pair_nll reliability",
    "decomposed": "DecomposedReward directions fit_mixture",
    "transforms": "all_of any_of centre cvar explicit_value exponential_utility inada_utility log_sigmoid_centered "
                  "standardise value_weighted value_weighted_accuracy weighted_all_of weighted_sum worst_case",
    "features": "text_features",
    "relevance": "cosine_relevance distinct_trigrams relevance_reward",
    "reference": "QuantileModel ReferenceRewards check_rewards fit_quantile_model reference_reward",
    "exact": "at_kl best_of_n best_of_n_kl best_of_n_win_rate expected kl_from_base kl_optimal strength_at_kl win_rate",
    "laboratory": "both_good_table proxy_error_table simulate_gold simulate_two",
    "combination": "Palette pareto_front reachable_region relax_palette sequential_palette solve_palette",
    "plugins": "openrlhf_reward trl_reward trl_rewards verl_score",
})  # fmt: skip
