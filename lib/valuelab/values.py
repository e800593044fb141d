"""The ten basic values of Schwartz's theory, in the order of their circle.

Neighbours on the circle share a motive, opposites exclude each other. The theory puts conformity and
tradition into one sector (conformity inside, tradition outside); here, as in most questionnaires scored
with ten scales, each value has an angle of its own, 36 degrees apart.

Source: Schwartz, "Universals in the content and structure of values" (1992). The glosses are our own.
"""

from __future__ import annotations

import difflib

import numpy as np

VALUES = (
    "self-direction",
    "stimulation",
    "hedonism",
    "achievement",
    "power",
    "security",
    "conformity",
    "tradition",
    "benevolence",
    "universalism",
)
ANGLES = 2 * np.pi * np.arange(10) / 10  # radians, in the order of VALUES

GLOSSES = {
    "self-direction": "thinking and acting for oneself: choosing, creating, exploring",
    "stimulation": "excitement, novelty and challenge",
    "hedonism": "pleasure and enjoyment for oneself",
    "achievement": "success by showing that one is able",
    "power": "standing and control over people and things",
    "security": "safety and stability, of oneself and of society",
    "conformity": "not upsetting others or breaking what they expect",
    "tradition": "keeping the customs and beliefs one was given",
    "benevolence": "the good of the people one is close to",
    "universalism": "the good of all people and of nature",
}
HIGHER_ORDER = {
    "openness to change": ("self-direction", "stimulation", "hedonism"),
    "self-enhancement": ("hedonism", "achievement", "power"),
    "conservation": ("security", "conformity", "tradition"),
    "self-transcendence": ("benevolence", "universalism"),
}


def resolve(name: str) -> str:
    """The canonical name of a value: "Self_Direction", "self direction" and "SECURITY" are all read.

    Raises:
        ValueError: no such value; the message names the nearest and all ten.
    """
    plain = str(name).strip().lower().replace("_", "-").replace(" ", "-")
    if plain in VALUES:
        return plain
    near = difflib.get_close_matches(plain, VALUES, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name!r} is not one of the ten basic values.{hint} They are: {', '.join(VALUES)}.")


def index(name: str) -> int:
    """Position of a value on the circle, 0 to 9."""
    return VALUES.index(resolve(name))


def opposite(name: str) -> str:
    """The value across the circle."""
    return VALUES[(index(name) + 5) % 10]


def cosine(a: str, b: str) -> float:
    """Planted likeness of two values, cos(angle between them): 1 for itself, -1 for its opposite."""
    return float(np.cos(ANGLES[index(a)] - ANGLES[index(b)]))
