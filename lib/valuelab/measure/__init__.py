"""Measure values: readouts, estimators, intervals and null floors.

Each estimator lives in a short module of pure functions on arrays; `readout` and `judges` turn a
language model into such arrays. The common names can be imported from here; a module is loaded
when a name of it is asked for.
"""

from valuelab import exports

__all__, __getattr__, __dir__ = exports(__name__, {
    "intervals": "Interval cluster_bootstrap holm mean_interval paired_difference wilson",
    "readout": "Forced Judgement Likert TwoChoice forced_choice free_replies lettered likert planted_choice",
    "forced": "ForcedChoice OrderPooled pool_orders summarise_orders",
    "scoring": "Scores score_choices",
    "judges": "ChatJudge LogProbJudge OracleJudge",
    "consistency": "Consistency count_answers js_distance",
    "profile": "Profile value_profile",
    "portrait": "centred_scores portrait_profile reverse_code z_profile",
    "orientation": "AuthorScore author_scores keyed_ratings",
    "utility": "Edges Utilities fit_bradley_terry fit_thurstone learn_utilities soft_cycle strict_cycle "
               "utility_accuracy",
    "ranking": "Ranking battles choice_regression elo_ratings rank_bounds rank_values strengths",
    "consensus": "Consensus breakdown_point kemeny_order kendall_distance",
    "circle": "CircleTest circle_test cosine_fit ordinal_map profile_correlations",
    "stance": "flip_rate open_agreement stance_table",
    "taxonomy": "adjusted_residuals expressed_profile stance_shares value_by_context",
    "floors": "confidence_floor cycle_floor js_floor negative_slope_floor order_consistency_floor",
})  # fmt: skip
