"""Hypothesis settings of these tests: no deadline (shared machines stall), a fixed seed."""

from hypothesis import settings

settings.register_profile("rewards", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("rewards")
