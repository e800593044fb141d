"""The form of a planted mistake: a wrong answer as a tired student would write it, and what the check must say."""

from collections.abc import Callable
from typing import NamedTuple


class Mistake(NamedTuple):
    name: str  # what the student got wrong
    function: Callable  # the wrong answer
    says: str  # words that the check's message must hold, and no other mistake's of this exercise
