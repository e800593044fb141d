"""Checks of exercises: a name for the mistake, and the reference where the learner's function is wrong."""

from __future__ import annotations

import importlib
import os
import random
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from . import progress


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """What is wrong with an answer, in one sentence for the learner."""


@dataclass(frozen=True)
class Exercise:
    id: str
    reference: Callable
    test: Callable[[Callable], None]


_EXERCISES: dict[str, Exercise] = {}


def exercise(id: str, *, reference: Callable):
    """Register the check of an exercise.

    The decorated function takes the learner's function and raises `Refused("what is wrong, and why")`; it
    tests shape first, then the likely mistakes in order of likelihood, then values on two seeds.
    It must refuse `pass`, which returns None.
    """

    def register(test):
        _EXERCISES[id] = Exercise(id, reference, test)
        return test

    return register


def find(id: str) -> Exercise:
    """The registered exercise, importing the checks of its lesson.

    Raises:
        KeyError: no such exercise.
    """
    if id not in _EXERCISES:
        lesson = int(re.match(r"\d+", id).group()) if re.match(r"\d+\.\d+$", id) else -1
        try:
            importlib.import_module(f"valuelab.course.checks.lesson_{lesson:02d}")
        except ModuleNotFoundError as error:
            if not str(error.name).startswith("valuelab.course.checks"):
                raise
    if id not in _EXERCISES:
        known = ", ".join(sorted(_EXERCISES)) or "none"
        raise KeyError(f"check: there is no exercise {id!r}. Exercises known here: {known}.")
    return _EXERCISES[id]


def verdict(id: str, answer: Callable) -> str | None:
    """None if the answer is right, "" if it is still to do, else what is wrong with it.

    Whatever the answer does, a number instead of a function included, ends as one sentence, never as a
    traceback into the course's code. Random states are as before, so a check changes nothing that follows.
    """
    found = find(id)
    if not callable(answer):
        return f"{type(answer).__name__} given: pass the function itself, without calling it"
    states = _random_states()
    try:
        found.test(answer)
    except Refused as refusal:
        return str(refusal)
    except Exception as error:
        if _is_stub(error):
            return ""
        return _sentence(error, answer)
    finally:
        _restore(states)
    return None


def _random_states() -> dict[str, object]:
    """The states of the random generators that are in use."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    states = {"random": random.getstate()}
    if numpy:
        states["numpy"] = numpy.random.get_state()
    if torch:
        states["torch"] = torch.get_rng_state()
    return states


def _restore(states: dict) -> None:
    random.setstate(states["random"])
    if "numpy" in states:
        sys.modules["numpy"].random.set_state(states["numpy"])
    if "torch" in states:
        sys.modules["torch"].set_rng_state(states["torch"])


def _is_stub(error: BaseException | None) -> bool:
    """A bare NotImplementedError (torch's own carry text), also where the Triton interpreter wraps it."""
    while error is not None:
        if isinstance(error, NotImplementedError) and not str(error):
            return True
        error = error.__cause__
    return False


def _sentence(error: Exception, answer) -> str:
    """An exception as an answer to the learner: where their own code stopped, or what cannot be used."""
    says = f"{type(error).__name__}: {' '.join(str(error).split())}"
    code = getattr(getattr(answer, "fn", answer), "__code__", None)  # a Triton kernel keeps its function in .fn
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if code and f.filename == code.co_filename and f.name == code.co_name]
    if own:
        return f"your function stops with {says}" + (f" (line: {own[-1].line})" if own[-1].line else "")
    if isinstance(error, TypeError) and code and f"{code.co_name}()" in str(error):
        return f"your function cannot be called as the exercise calls it ({says}): keep the signature that was given"
    return f"what your function returns cannot be used ({says}): compare its type and shape with the docstring"


def check(id: str, answer: Callable) -> Callable:
    """Check an answer and return the function to go on with: yours if it is right, else the reference.

    Prints one of

        ✓ 4.2
        ○ 4.2 to do: the reference runs below until you write yours
        ✗ 4.2 what is wrong. The reference runs below

    Under nbgrader (NBGRADER_EXECUTION is set) a missing or wrong answer raises instead, so that nothing
    earns marks by falling back.

    Raises:
        KeyError: no such exercise.
        AssertionError: wrong or missing, under nbgrader only.
    """
    found, wrong = find(id), verdict(id, answer)
    progress.record(id, {None: "done", "": "to do"}.get(wrong, "tried"))
    if wrong is None:
        print(f"✓ {id}")
        return answer
    if os.environ.get("NBGRADER_EXECUTION"):
        raise AssertionError(f"{id}: " + (wrong or "to do"))
    if wrong == "":
        print(f"○ {id} to do: the reference runs below until you write yours")
    else:
        print(f"✗ {id} {wrong.rstrip('.')}. The reference runs below")
    return found.reference
