"""Taxonomies of values beside the ten, and crossmaps between them.

A taxonomy is a list of names; some have a circle (an angle for each name). A crossmap is a weighted
many-to-many table from one taxonomy to another: each row spreads the mass of one value over the
target's values and sums to one, so no mass appears or gets lost on the way.

    >>> m = crossmap("schwartz19", "schwartz10")
    >>> m.apply({"face": 1.0})["power"]
    0.5

Every crossmap says what it rests on. "definition": the authors define one taxonomy as a refinement
of the other. "judgement": written by hand for this course from the definitions of both sides; it is
a starting point for discussion, not a measurement.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from .values import ANGLES, VALUES

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """A named list of values.

    Attributes:
        name: short name used in records.
        title: what a reader is shown.
        values: names in the source's order; empty for an open vocabulary, whose names the dataset
            itself brings along.
        source: paper or repository.
        angles: radians, (len(values),), for taxonomies with a circle, else None.
    """

    name: str
    title: str
    values: tuple[str, ...]
    source: str
    angles: np.ndarray | None = None

    @property
    def open(self) -> bool:
        return not self.values

    def index(self, value: str) -> int:
        """Position of `value`. ValueError naming the choices where it is unknown."""
        if value not in self.values:
            choices = ", ".join(self.values) or "none: this vocabulary is open"
            raise ValueError(f"{value!r} is no value of {self.name!r}. Choose from: {choices}.")
        return self.values.index(value)


REFINED = (
    "self-direction: thought",
    "self-direction: action",
    "stimulation",
    "hedonism",
    "achievement",
    "power: dominance",
    "power: resources",
    "face",
    "security: personal",
    "security: societal",
    "tradition",
    "conformity: rules",
    "conformity: interpersonal",
    "humility",
    "benevolence: dependability",
    "benevolence: caring",
    "universalism: concern",
    "universalism: nature",
    "universalism: tolerance",
)
"""The nineteen refined values in circle order (Schwartz et al. 2012). Sources differ on the order
inside benevolence and inside universalism; nothing in this library depends on it."""

HIGHER = ("openness to change", "self-enhancement", "conservation", "self-transcendence")
FOUNDATIONS = ("care", "fairness", "loyalty", "authority", "sanctity")
RULES = (
    "do not kill",
    "do not cause pain",
    "do not disable",
    "do not deprive of freedom",
    "do not deprive of pleasure",
    "do not deceive",
    "do not cheat",
    "do not break your promises",
    "do not break the law",
    "do your duty",
)

_SCHWARTZ = "Schwartz 1992"
_ALL = (
    Taxonomy("schwartz10", "Ten basic values", tuple(VALUES), _SCHWARTZ, np.asarray(ANGLES)),
    Taxonomy(
        "schwartz19",
        "Nineteen refined values",
        REFINED,
        "Schwartz et al. 2012",
        2 * np.pi * np.arange(len(REFINED)) / len(REFINED),
    ),
    Taxonomy(
        "schwartz4", "Four higher-order values", HIGHER, _SCHWARTZ, 2 * np.pi * np.arange(4) / 4
    ),
    Taxonomy(
        "valueeval20",
        "Twenty value categories of Touché ValueEval",
        (*REFINED, "universalism: objectivity"),
        "Kiesel et al. 2022",
    ),
    Taxonomy("mft5", "Five moral foundations", FOUNDATIONS, "Graham et al. 2013"),
    Taxonomy("rules10", "Ten common moral rules", RULES, "Gert 2004; Scherrer et al. 2023"),
    Taxonomy(
        "ethics5",
        "Five tasks of ETHICS",
        ("commonsense", "deontology", "justice", "utilitarianism", "virtue"),
        "Hendrycks et al. 2021",
    ),
    Taxonomy(
        "bfi5",
        "Five personality factors",
        ("openness", "conscientiousness", "extraversion", "agreeableness", "neuroticism"),
        "Big Five Inventory",
    ),
    Taxonomy(
        "views5",
        "Themes of world views",
        ("ontology", "anthropology", "axiology", "epistemology", "societal vision"),
        "Qiu et al. 2024",
    ),
    Taxonomy(
        "flames5",
        "Dimensions of Flames",
        ("fairness", "safety", "morality", "data protection", "legality"),
        "Huang et al. 2023",
    ),
    Taxonomy(
        "cvalues8",
        "Domains of CValues",
        (
            "environmental_science",
            "psychology",
            "barrier_free",
            "social_science",
            "data_science",
            "law",
            "intimate_relationship",
            "lesser_known_major",
        ),
        "Xu et al. 2023",
    ),
    Taxonomy(
        "normdial10",
        "Categories of social norms",
        (
            "apology",
            "compliments",
            "condolence",
            "criticism",
            "greeting",
            "leave",
            "persuasion",
            "request",
            "respond_compliments",
            "thanks",
        ),
        "Li et al. 2023",
    ),
    Taxonomy(
        "egonormia7",
        "Kinds of physical social norms",
        (
            "safety",
            "privacy",
            "proxemics",
            "politeness",
            "cooperation",
            "coordination/proactivity",
            "communication/legibility",
        ),
        "Rezaei et al. 2025",
    ),
    Taxonomy(
        "emotions6",
        "Six emotions",
        ("happiness", "sadness", "anger", "fear", "disgust", "surprise"),
        "Zou et al. 2023",
    ),
    Taxonomy("valuebench", "Value dimensions of ValueBench", (), "Ren et al. 2024"),
    Taxonomy("agent_valuebench", "Values of 28 systems", (), "Agent-ValueBench"),
    Taxonomy("daily_dilemmas", "Values named in DailyDilemmas", (), "Chiu et al. 2024"),
    Taxonomy("persona", "Traits and views of the persona evals", (), "Perez et al. 2022"),
    Taxonomy("moral_graph", "Values found in interviews", (), "Klingefjord et al. 2024"),
)
TAXONOMIES: dict[str, Taxonomy] = {t.name: t for t in _ALL}
_MEMBERS = {t.name: frozenset(t.values) for t in _ALL}


def taxonomy(name: str) -> Taxonomy:
    """The taxonomy called `name`. ValueError naming the choices where there is none."""
    if name not in TAXONOMIES:
        raise ValueError(f"no taxonomy {name!r}. Choose from: {', '.join(TAXONOMIES)}.")
    return TAXONOMIES[name]


def has(name: str, value: str) -> bool:
    """Whether `value` belongs to the taxonomy `name`; in an open one every text does."""
    members = _MEMBERS.get(name)
    return members is not None and (value in members or not members and bool(value))


# --------------------------------------------------------------------------------------- crossmaps


@dataclass(frozen=True, eq=False)
class Crossmap:
    """Weights from each value of `rows` to each value of `columns`.

    Attributes:
        rows, columns: names of taxonomies.
        weights: (n_rows, n_columns), non-negative, each row sums to one.
        basis: "definition", "judgement", or how it was derived from others.
        source: where the weights come from.
    """

    rows: str
    columns: str
    weights: np.ndarray
    basis: str
    source: str = ""

    def __post_init__(self) -> None:
        shape = (len(taxonomy(self.rows).values), len(taxonomy(self.columns).values))
        if self.weights.shape != shape or 0 in shape:
            raise ValueError(
                f"crossmap {self.rows} -> {self.columns}: weights have shape {self.weights.shape}, "
                f"expected {shape}. Give one row per value and one column per target value."
            )
        wrong = np.flatnonzero(np.abs(self.weights.sum(1) - 1) > 1e-9)
        if (self.weights < 0).any() or wrong.size:
            at = taxonomy(self.rows).values[int(wrong[0])] if wrong.size else "some row"
            raise ValueError(
                f"crossmap {self.rows} -> {self.columns}: the row {at!r} is negative or does not "
                "sum to one, so mass would be lost. Divide the row by its sum."
            )
        self.weights.setflags(write=False)

    def apply(self, scores: Mapping[str, float] | Sequence[float] | np.ndarray):
        """Carry amounts (counts, shares, utilities) over; the total stays the same.

        Args:
            scores: a mapping from value to amount (absent values count as zero), or an array
                (..., n_rows).

        Returns:
            A mapping from every target value to its amount, or an array (..., n_columns).
        """
        source, target = taxonomy(self.rows), taxonomy(self.columns)
        if isinstance(scores, Mapping):
            x = np.zeros(len(source.values))
            for value, amount in scores.items():
                x[source.index(value)] = amount
            return dict(zip(target.values, (x @ self.weights).tolist(), strict=True))
        x = np.asarray(scores, dtype=float)
        if x.shape[-1:] != (len(source.values),):
            raise ValueError(
                f"crossmap {self.rows} -> {self.columns}: scores end in {x.shape[-1:]}, expected "
                f"{len(source.values)}. Pass one amount for each value of {self.rows!r}."
            )
        return x @ self.weights

    def back(self, prior: Sequence[float] | np.ndarray | None = None) -> Crossmap:
        """The map the other way, by Bayes' rule: P(row | column) from P(column | row) and a prior.

        There and back returns the prior itself. Where every row has a single target, forth after
        back is the identity.

        Args:
            prior: amount of each row value, (n_rows,), positive; uniform where left out.
        """
        n = len(taxonomy(self.rows).values)
        p = np.full(n, 1 / n) if prior is None else np.asarray(prior, dtype=float)
        if p.shape != (n,) or (p <= 0).any():
            raise ValueError(
                f"crossmap {self.rows} -> {self.columns}: the prior has shape {p.shape} and "
                f"minimum {p.min() if p.size else None}. Pass {n} positive amounts."
            )
        joint = self.weights * (p / p.sum())[:, None]
        mass = joint.sum(0)
        if not mass.all():
            empty = taxonomy(self.columns).values[int(np.flatnonzero(mass == 0)[0])]
            raise ValueError(
                f"crossmap {self.rows} -> {self.columns}: nothing maps to {empty!r}, so it has no "
                "way back. Map at least one value to it."
            )
        weights = (joint / mass).T
        return Crossmap(self.columns, self.rows, weights, f"Bayes of {self.basis}", self.source)

    def then(self, other: Crossmap) -> Crossmap:
        """This map followed by `other`; mass is preserved by both, so by their product too."""
        if self.columns != other.rows:
            raise ValueError(
                f"{self.rows} -> {self.columns} cannot be followed by {other.rows} -> "
                f"{other.columns}. The second has to start where the first ends."
            )
        basis = self.basis if self.basis == other.basis else f"{self.basis}, then {other.basis}"
        source = "; ".join(dict.fromkeys(s for s in (self.source, other.source) if s))
        return Crossmap(self.rows, other.columns, self.weights @ other.weights, basis, source)


def _table(rows: str, columns: str, spread: Mapping[str, object], basis: str, source: str):
    """A crossmap from {value: target} and {value: {target: share}}; unnamed values keep theirs."""
    a, b = taxonomy(rows), taxonomy(columns)
    w = np.zeros((len(a.values), len(b.values)))
    for i, value in enumerate(a.values):
        to = spread.get(value, value)
        for target, share in to.items() if isinstance(to, Mapping) else [(to, 1.0)]:
            w[i, b.index(target)] += share
    for value in spread:
        a.index(value)  # a misspelt row would otherwise go unnoticed
    return Crossmap(rows, columns, w, basis, source)


_PARENT = {v: v.split(":")[0] for v in REFINED}
_MAPS = (
    _table(
        "schwartz19",
        "schwartz10",
        {
            **_PARENT,
            "face": {"power": 0.5, "security": 0.5},
            "humility": {"conformity": 0.5, "tradition": 0.5},
        },
        "definition",
        "Schwartz et al. 2012; face and humility lie between two of the ten, so they are halved",
    ),
    _table(
        "schwartz10",
        "schwartz4",
        {
            "self-direction": "openness to change",
            "stimulation": "openness to change",
            "hedonism": {"openness to change": 0.5, "self-enhancement": 0.5},
            "achievement": "self-enhancement",
            "power": "self-enhancement",
            "security": "conservation",
            "conformity": "conservation",
            "tradition": "conservation",
            "benevolence": "self-transcendence",
            "universalism": "self-transcendence",
        },
        "definition",
        "Schwartz 1992; hedonism shares in two",
    ),
    _table(
        "valueeval20",
        "schwartz19",
        {
            "universalism: objectivity": {
                "universalism: tolerance": 0.5,
                "self-direction: thought": 0.5,
            }
        },
        "judgement",
        "nineteen names are the same; objectivity has none of its own there",
    ),
    _table(
        "schwartz10",
        "mft5",
        {
            "self-direction": {"fairness": 0.6, "care": 0.4},
            "stimulation": dict.fromkeys(FOUNDATIONS, 0.2),
            "hedonism": {"care": 0.6, "fairness": 0.4},
            "achievement": {"fairness": 0.6, "authority": 0.4},
            "power": {"authority": 0.8, "loyalty": 0.2},
            "security": {"loyalty": 0.4, "authority": 0.4, "sanctity": 0.2},
            "conformity": {"authority": 0.6, "loyalty": 0.3, "sanctity": 0.1},
            "tradition": {"sanctity": 0.5, "authority": 0.3, "loyalty": 0.2},
            "benevolence": {"care": 0.7, "loyalty": 0.3},
            "universalism": {"fairness": 0.6, "care": 0.4},
        },
        "judgement",
        "written for this course; stimulation says nothing about a foundation, so it is spread",
    ),
    _table(
        "rules10",
        "mft5",
        {
            **dict.fromkeys(RULES[:3], "care"),
            "do not deprive of freedom": {"fairness": 0.6, "care": 0.4},
            "do not deprive of pleasure": "care",
            "do not deceive": {"fairness": 0.7, "loyalty": 0.3},
            "do not cheat": "fairness",
            "do not break your promises": {"loyalty": 0.6, "fairness": 0.4},
            "do not break the law": "authority",
            "do your duty": {"authority": 0.6, "loyalty": 0.4},
        },
        "judgement",
        "written for this course",
    ),
)
CROSSMAPS: dict[tuple[str, str], Crossmap] = {(m.rows, m.columns): m for m in _MAPS}


@cache
def crossmap(rows: str, columns: str) -> Crossmap:
    """The crossmap from `rows` to `columns`: written down, turned round, or put together.

    Takes the shortest way through the maps in `CROSSMAPS`, each usable in both directions
    (backwards by `Crossmap.back` with a uniform prior).

    Raises:
        ValueError: a name is unknown, or no way leads there.
    """
    taxonomy(rows), taxonomy(columns)
    if rows == columns:
        return Crossmap(rows, columns, np.eye(len(taxonomy(rows).values)), "identity")
    ways: deque[list[str]] = deque([[rows]])
    visited = {rows}
    while ways:
        way = ways.popleft()
        if way[-1] == columns:
            steps = [_step(a, b) for a, b in zip(way, way[1:], strict=False)]
            whole = steps[0]
            for step in steps[1:]:
                whole = whole.then(step)
            return whole
        for a, b in CROSSMAPS:
            for start, end in ((a, b), (b, a)):
                if start == way[-1] and end not in visited:
                    visited.add(end)
                    ways.append([*way, end])
    known = ", ".join(f"{a} -> {b}" for a, b in CROSSMAPS)
    raise ValueError(f"no crossmap leads from {rows!r} to {columns!r}. There are: {known}.")


def _step(rows: str, columns: str) -> Crossmap:
    direct = CROSSMAPS.get((rows, columns))
    return direct if direct is not None else CROSSMAPS[columns, rows].back()


def draw_crossmap(m: Crossmap) -> Figure:
    """A picture of `m`: one square per pair, shaded and labelled with its weight.

    Returns:
        A matplotlib figure that no global state knows of, so nothing needs closing.
    """
    from matplotlib.figure import Figure

    a, b = taxonomy(m.rows), taxonomy(m.columns)
    fig = Figure(figsize=(2.8 + 0.75 * len(b.values), 1.8 + 0.36 * len(a.values)), dpi=90)
    ax = fig.add_subplot()
    ax.imshow(m.weights, cmap="cividis_r", vmin=0, vmax=1, aspect="auto")
    for i, j in zip(*np.nonzero(m.weights), strict=True):
        w = m.weights[i, j]
        colour = "white" if w > 0.5 else "black"
        ax.text(j, i, f"{w:.2g}", ha="center", va="center", color=colour, fontsize=10)
    ax.set_xticks(range(len(b.values)), b.values, rotation=35, ha="right", fontsize=10)
    ax.set_yticks(range(len(a.values)), a.values, fontsize=10)
    ax.set_title(f"{a.title} → {b.title} ({m.basis})", fontsize=11)
    fig.tight_layout()
    return fig
