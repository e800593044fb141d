"""Wrong answers to lesson 00."""

from mistakes.planted import Mistake


def pushed(step):
    return lambda h, v, strength=1.0: step(h, v, strength).to(h.dtype)


MISTAKES = {
    "0.1": [
        Mistake("not turned round", lambda there, back: (there + back) / 2, "turn it round first"),
        Mistake("the other action", lambda there, back: (1 - there + back) / 2, "probability of b"),
        Mistake("sum", lambda there, back: there + 1 - back, "take their mean"),
        Mistake("difference", lambda there, back: there - back, "no probability"),
        Mistake("one order only", lambda there, back: there, "only the first order"),
        Mistake("one number", lambda there, back: ((there + 1 - back) / 2).mean(), "one probability for each"),
    ],
    "0.2": [
        Mistake("new state", pushed(lambda h, v, s: h + s * v), "return the shift alone"),
        Mistake("no strength", pushed(lambda h, v, s: v.expand(h.shape)), "strength was not used"),
        Mistake("sign", pushed(lambda h, v, s: (-s * v).expand(h.shape)), "sign flipped"),
        Mistake("unit length", pushed(lambda h, v, s: (s * v / v.norm()).expand(h.shape)), "length one"),
        Mistake("multiplied", pushed(lambda h, v, s: h * s * v), "multiplied with the state"),
        Mistake("one vector", lambda h, v, strength=1.0: strength * v, "one shift for each state"),
        Mistake("dtype", lambda h, v, strength=1.0: (strength * v).expand(h.shape), "dtype of h was not kept"),
    ],
}
