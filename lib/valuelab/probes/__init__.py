"""Probes: from hidden states to a direction, and the proof that it is the value."""

from valuelab.probes.baselines import (
    bag_of_words,
    compare,
    length,
    shuffle_within,
    shuffled_labels,
)
from valuelab.probes.calibration import (
    brier,
    calibrate,
    expected_calibration_error,
    temperature,
)
from valuelab.probes.data import check_data, group_folds, stack_pairs
from valuelab.probes.estimators import (
    ESTIMATORS,
    fit,
    lda,
    logistic,
    mean_difference,
    pca_difference,
    random_direction,
)
from valuelab.probes.probe import Probe
from valuelab.probes.validation import (
    Validation,
    bootstrap_accuracy,
    cross_validate,
    grouped_accuracy,
    nested_accuracy,
    validated_probe,
)

__all__ = [
    "ESTIMATORS",
    "Probe",
    "Validation",
    "bag_of_words",
    "bootstrap_accuracy",
    "brier",
    "calibrate",
    "check_data",
    "compare",
    "cross_validate",
    "expected_calibration_error",
    "fit",
    "group_folds",
    "grouped_accuracy",
    "lda",
    "length",
    "logistic",
    "mean_difference",
    "nested_accuracy",
    "pca_difference",
    "random_direction",
    "shuffle_within",
    "shuffled_labels",
    "stack_pairs",
    "temperature",
    "validated_probe",
]
