"""Measure values: readouts, estimators, intervals and null floors.

Each estimator lives in a short module of pure functions on arrays; `readout` and `judges` turn a
language model into such arrays. Import from the modules, or the common names from here.
"""

from valuelab.measure.intervals import Interval, holm, mean_interval, paired_difference, wilson

__all__ = ["Interval", "holm", "mean_interval", "paired_difference", "wilson"]
