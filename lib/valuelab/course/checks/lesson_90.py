"""A lesson's checks in their smallest form; the tests of the toolchain run on it."""

from ..check import Refused, exercise

FACTOR = 2


def double(x: float) -> float:
    """Twice x."""
    return FACTOR * x


@exercise("90.1", reference=double)
def check_double(f):
    if f(3) is None:
        raise Refused("nothing came back: end with `return`")
    if f(3) == 9:
        raise Refused("squared: 3 became 9, twice 3 is 6")
    if f(3) != 6:
        raise Refused(f"3 became {f(3)}, twice 3 is 6")


@exercise("90.2", reference=lambda x: x / 2)
def check_half(f):
    if f(3) != 1.5:
        raise Refused(f"half of 3 is 1.5, not {f(3)}")
