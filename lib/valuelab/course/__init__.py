"""What a lesson uses: check an exercise, ask a quiz, state a claim, show a figure, see one's progress."""

from .check import Refused, check, exercise
from .display import claim, show
from .progress import progress
from .quiz import quiz

__all__ = ["Refused", "check", "claim", "exercise", "progress", "quiz", "show"]
