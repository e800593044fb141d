"""Rankings of values from dilemmas, before and after an intervention, with rank intervals.

    python -m valuelab dilemmas --value security                        # the embedded model, in its own world
    python -m valuelab dilemmas --value security --model FOLDER         # another model, the course's own dilemmas
    python -m valuelab dilemmas --value security --model FOLDER --dilemmas moralchoice --data FOLDER

Any dilemmas will do whose two actions are known by the values they serve: the planted world's situations
(`world_battles`), or a set of `SETS` (`read_dilemmas`, `model_battles`), as two boolean arrays for `measure.ranking`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy import stats

from valuelab import data
from valuelab import world as W
from valuelab.data import sources
from valuelab.data.own import Dilemma
from valuelab.data.readers.daily_dilemmas import FOUNDATIONS
from valuelab.data.record import Record
from valuelab.evaluate.bench import PairsBench
from valuelab.evaluate.chain import Reader
from valuelab.evaluate.files import ReportError
from valuelab.evaluate.methods import METHODS, Kit
from valuelab.evaluate.push import random_push
from valuelab.evaluate.report import guarded, load
from valuelab.measure.intervals import bootstrap_weights, interval_of_draws
from valuelab.measure.ranking import Ranking, battles, rank_values, strengths
from valuelab.measure.readout import forced_choice, lettered
from valuelab.measure.scoring import score_choices
from valuelab.models import LM
from valuelab.probes import Probe
from valuelab.steering import Shift, steer
from valuelab.taxonomies import RULES
from valuelab.values import VALUES, resolve
from valuelab.world.oracle import Parsed

__all__ = [
    "SETS",
    "RankChange",
    "model_battles",
    "rank_change",
    "rank_changes",
    "read_dilemmas",
    "strength_change",
    "world_battles",
]

SETS = {"course_dilemmas": VALUES, "moralchoice": RULES, "daily_dilemmas": FOUNDATIONS}
"""Sets whose actions are known by what they serve, and the names that are ranked.

MoralChoice: an action keeps the rules that the other one breaks. DailyDilemmas: its 301 values are too many to rank
from its dilemmas, so each stands for its moral foundation. The other public dilemmas at hand (Scruples, Moral
Stories) do not say what either action serves.
"""
Battles = tuple[np.ndarray, np.ndarray, np.ndarray]
ANSWERED = 0.01  # least probability of both letters together that counts as an answer
STRENGTH = 0.4  # step over mean length of the states
ONE_SD = 0.6827  # share of a normal that lies within one standard deviation
PAIRS = 64  # contrast pairs of each value that the direction is read from


def strength_change(
    before: np.ndarray, after: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Change of each value's Bradley-Terry strength, with a bootstrap in which whole dilemmas are drawn.

    Both models answered the same dilemmas, so each draw of dilemmas is used for both: what makes a dilemma
    favour a value cancels in the estimate.

        change = θ(after) − θ(before);   in draw b: θ(Σ_d w_bd after_d) − θ(Σ_d w_bd before_d)
        low, high = change ∓ 1.96 · half the distance between the bounds of the middle 68 % of the draws

    Of normal draws that half distance is one standard deviation. Where a value wins nearly every battle, as it
    should when it is steered, some draws leave it no loss at all and fly off. Percentiles of 2.5 and 97.5 would follow
    them, away from the truth; the middle of the draws does not.

    Args:
        before, after: (dilemmas, V, V), wins[d, a, b] = how often a beat b in dilemma d.
        weights: (draws, dilemmas), how often each dilemma was drawn (`bootstrap_weights`).

    Returns:
        (change, low, high), (V,) each, in logits; low and high are 95 % bounds.
    """
    change = strengths(after.sum(0)) - strengths(before.sum(0))
    drawn = strengths(np.tensordot(weights, after, 1)) - strengths(np.tensordot(weights, before, 1))
    low, high = interval_of_draws(drawn, level=ONE_SD)
    half = stats.norm.ppf(0.975) * (high - low) / 2
    return change, change - half, change + half


@dataclass(frozen=True)
class RankChange:
    """Two rankings of the same dilemmas, and the paired change of each strength with its bounds, (V,) each."""

    before: Ranking
    after: Ranking
    change: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def moved(self) -> list[str]:
        """Values whose change excludes zero, largest first."""
        names = [(abs(c), n) for c, lo, hi, n in zip(self.change, self.low, self.high, self.before.names, strict=True)
                 if lo > 0 or hi < 0]  # fmt: skip
        return [n for _, n in sorted(names, reverse=True)]


def wins_by_dilemma(chosen: np.ndarray, neglected: np.ndarray, index: np.ndarray, dilemmas: int) -> np.ndarray:
    """(dilemmas, V, V) tables of battles; `index` (n,) says which dilemma a row answers."""
    winner, loser, row = battles(chosen, neglected)
    tables = np.zeros((dilemmas, chosen.shape[1], chosen.shape[1]))
    np.add.at(tables, (index[row], winner, loser), 1)
    return tables


def rank_change(
    before: tuple[np.ndarray, np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray, np.ndarray],
    dilemmas: Sequence[str], *, names: Sequence[str] = VALUES, draws: int = 500, seed: int = 0,
) -> RankChange:  # fmt: skip
    """Rankings before and after, on the dilemmas that both answered.

    Args:
        before, after: (chosen (n, V), neglected (n, V), answered (n,)), rows in the same order.
        dilemmas: (n,) dilemma of each row.

    Raises:
        ValueError: the rows differ in number, or fewer than two dilemmas were answered by both.
    """
    both = before[2] & after[2]
    check_answered(both, dilemmas, "before and after")
    labels, index = np.unique(np.asarray(dilemmas)[both], return_inverse=True)
    tables = [wins_by_dilemma(c[both], x[both], index, len(labels)) for c, x, _ in (before, after)]
    weights = bootstrap_weights(np.arange(len(labels)), draws=draws, seed=seed)
    options = {"dilemmas": dilemmas, "names": names, "answered": both, "draws": draws, "seed": seed}
    rankings = [rank_values(c, x, **options) for c, x, _ in (before, after)]
    return RankChange(*rankings, *strength_change(*tables, weights))


def world_battles(
    asked: Sequence[W.Situation], read: Sequence[Parsed]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values served by the course chosen and by the other, (n, 10) each, and whether there was a choice, (n,).

    A course serves the values on which its planted weight is positive.
    """
    served = np.array([[np.asarray(a.weights) > 0 for a in s.offered] for s in asked])  # (n, 2, 10)
    answered = np.array([r.choice is not None for r in read])
    took = np.array([int(r.choice == s.second) for s, r in zip(asked, read, strict=True)])
    rows = np.arange(len(asked))
    return served[rows, took], served[rows, 1 - took], answered


# ------------------------------------------------------------------ any model, any other dilemmas


def read_dilemmas(records: Iterable[Record]) -> list[Dilemma]:
    """The dilemmas in records of a set of `SETS`; those in which either action serves nothing oppose no two values.

    `values_1` and `values_2` are what the two actions serve, in the names of `SETS`.

    Raises:
        ValueError: records of another set.
    """
    found, sides = [], {}
    for r in records:
        if r.source == "course_dilemmas":
            meta = json.loads(r.meta)
            found.append(_dilemma(r.id, r.prompt, r.choices, [meta["values_1"], meta["values_2"]]))
        elif r.source == "moralchoice":
            one, two = ({a.label for a in r.annotators if a.who == w and a.weight == 1} for w in ("action1", "action2"))
            found.append(_dilemma(r.id, r.prompt, r.choices, [two - one, one - two]))
        elif r.source == "daily_dilemmas":
            meta = json.loads(r.meta)
            if meta["part"] == "action":  # a record each: doing it, and leaving it
                sides.setdefault(r.context_id, {})[r.pole] = r, [m for m in meta["mft"] if m]
        else:
            raise ValueError(f"read_dilemmas: {r.source} does not say what an action serves; choose of {list(SETS)}.")
    for context, by_pole in sides.items():
        if len(by_pole) == 2:
            (do, for_it), (leave, against) = by_pole[1], by_pole[-1]
            found.append(_dilemma(context, do.prompt, (do.response, leave.response), [for_it, against]))
    return [d for d in found if d.values_1 and d.values_2]


def _dilemma(name: str, situation: str, actions: Sequence[str], served: Sequence[Sequence[str]]) -> Dilemma:
    return Dilemma(name, situation, *actions, *(tuple(sorted(set(side))) for side in served), "")


def load_dilemmas(name: str, folder: str | Path | None = None) -> list[Dilemma]:
    """The dilemmas of a set of `SETS`; ReportError where there is no such set, or its files are not at hand."""
    if name not in SETS:
        raise ReportError(f"--dilemmas {name}: no such set; choose of {', '.join(SETS)}.")
    try:
        return read_dilemmas(data.read(name, sources.folder(name, data=folder)))
    except sources.SourceError as error:
        raise ReportError(str(error)) from error


def model_battles(
    lm: LM, asked: Sequence[Dilemma], names: Sequence[str], *, batch_size: int = 16
) -> tuple[Battles, list[str]]:
    """What a model takes in each dilemma: battles for `rank_change`, and the dilemma of each row.

    A model with a chat template is asked with letters, in both orders, two rows a dilemma; where the letters have less
    than `ANSWERED` of its probability together it did not answer. A base model reads the situation; what it takes is
    the action with the higher log-probability per token, one row a dilemma.
    """
    if lm.has_chat_template:
        items = [lettered(lm, d.situation, d.action_1, d.action_2, context_id=d.dilemma_id) for d in asked]
        mass = forced_choice(lm, items, batch_size=batch_size).mass.reshape(-1, 2)  # (2 n, content)
        answered, score = mass.sum(1) >= ANSWERED, mass
    else:
        prompts, ends = [d.situation for d in asked], [[f" {a}" for a in (d.action_1, d.action_2)] for d in asked]
        score = np.array(score_choices(lm, prompts, ends, batch_size=batch_size).per_token())
        answered = np.isfinite(score).all(1)
    rows = np.repeat(np.arange(len(asked)), len(score) // len(asked))
    served = np.array([[[n in side for n in names] for side in (d.values_1, d.values_2)] for d in asked])
    took = (score[:, 1] > score[:, 0]).astype(int)
    answered &= score[:, 0] != score[:, 1]
    return (served[rows, took], served[rows, 1 - took], answered), [asked[k].dilemma_id for k in rows]


def rank_changes(
    lm: LM, asked: Sequence[Dilemma], names: Sequence[str], interventions: Mapping[str, AbstractContextManager],
    *, batch_size: int = 16, **options,
) -> dict[str, RankChange | str]:  # fmt: skip
    """`rank_change` for each intervention: the model is asked once without any, and once under each.

    An intervention under which the model no longer answers has a sentence in place of rankings.

    options: of `rank_change`.

    Raises:
        ValueError: the model as it is answers fewer than two dilemmas.
    """
    (before, rows), found = model_battles(lm, asked, names, batch_size=batch_size), {}
    check_answered(before[2], rows)
    for name, hooks in interventions.items():
        with hooks:
            after, _ = model_battles(lm, asked, names, batch_size=batch_size)
        found[name] = change_or_why(before, after, rows, names=names, **options)
    return found


def count_answered(answered: np.ndarray, dilemmas: Sequence[str]) -> int:
    return len(np.unique(np.asarray(dilemmas)[answered]))


def check_answered(answered: np.ndarray, dilemmas: Sequence[str], when: str = "by the model as it is") -> None:
    """ValueError where fewer than two dilemmas were answered."""
    if (count := count_answered(answered, dilemmas)) < 2:
        raise ValueError(f"rank_change: {count} dilemmas were answered {when}; at least two are needed.")


def change_or_why(before: Battles, after: Battles, dilemmas: Sequence[str], **options) -> RankChange | str:
    """`rank_change`, or a sentence where an intervention leaves fewer than two dilemmas answered."""
    if (count := count_answered(before[2] & after[2], dilemmas)) < 2:
        return f"no ranking, since {count} dilemmas were answered before and after"
    return rank_change(before, after, dilemmas, **options)


def pair_interventions(lm: LM, value: str, seed: int = 0) -> dict[str, AbstractContextManager]:
    """A step along the value's mean difference in the middle block, and steps as long in random directions.

    The direction is read from `PAIRS` of the course's own contrast pairs of each value; the step is `STRENGTH` mean
    lengths of a state. Neither is tuned: the report does that.
    """
    reader, layer = Reader(lm, PairsBench(lm, items=PAIRS, seed=seed), None), lm.n_layers // 2
    v = reader.difference(value, layer)
    if not (v.any() and v.isfinite().all()):
        raise ReportError(
            f"Nothing to read for {value} at layer {layer} of {lm.name}: the mean states for and against do not "
            "differ, or are not finite, so there is no direction to steer along. Name another model with --model."
        )
    shift = Shift(Probe(v / v.norm(), layer=layer, value=value), "add", strength=STRENGTH * reader.length(value, layer))
    group = 2 if lm.has_chat_template else 1  # both orders of a dilemma get one direction
    return {"additive": steer(lm, shift), "random direction": random_push(lm, shift, seed, group=group)}


def world_rank_changes(
    lm: LM, value: str, methods: Sequence[str], n: int = 200, seed: int = 0
) -> dict[str, RankChange | str]:
    """Methods of the table on held-out situations of the planted world; the oracle reads the replies."""
    kit, asked = Kit(lm, value, seed), W.situations("held_out", n, seed + 11)

    def took(method: str) -> Battles:
        said = kit.build(method, 1).answer([s.text for s in asked], seed=seed)
        return world_battles(asked, [W.parse(t, s.offered) for t, s in zip(said, asked, strict=True)])

    before, ids = took("unsteered"), [s.context_id for s in asked]
    check_answered(before[2], ids)
    return {m: change_or_why(before, took(m), ids) for m in methods}


def lines(found: Mapping[str, RankChange | str]) -> list[str]:
    """Ranks and changes as text, the intervention's largest change first."""
    out = []
    for name, r in found.items():
        if isinstance(r, str):
            out.append(f"{name}: {r}")
            continue
        out.append(f"{name}: {r.before.dilemmas} dilemmas answered before and after, {r.before.dropped} rows left out")
        if not all(x.outcome == "ok" for x in (r.before, r.after)):
            out.append(f"  {r.before.outcome if r.before.outcome != 'ok' else r.after.outcome}")
            continue
        for k in np.argsort(-np.abs(r.change)):
            ranks = [f"{x.rank[k]:2d} ({x.rank_low[k]:.0f}-{x.rank_high[k]:.0f})" for x in (r.before, r.after)]
            out.append(f"  {r.before.names[k]:28s} rank {ranks[0]:>11s} -> {ranks[1]:>11s}   "
                       f"strength {r.change[k]:+.2f} [{r.low[k]:+.2f}, {r.high[k]:+.2f}]")  # fmt: skip
        moved = ", ".join(r.moved()) or "none"
        out.append(f"  changes that exclude zero, {len(r.change)} values each at 95 %: {moved}")
    return out


def dilemmas_command(
    value: Annotated[str, typer.Option(help="Value to steer.")] = "security",
    model: Annotated[str, typer.Option(help="Folder or hub id; without it VALUELAB_MODEL or the embedded model.")] = "",
    dilemmas: Annotated[str, typer.Option(help=f"For other models: one of {', '.join(SETS)}.")] = "course_dilemmas",
    methods: Annotated[str, typer.Option(help="For the embedded model: methods of the table, separated by commas.")]
    = "instruction,additive,gated minimal,random direction",
    data: Annotated[str, typer.Option(help="Folder with one folder per dataset, as for `valuelab data`.")] = "",
    items: Annotated[int, typer.Option(min=0, help="Take only so many dilemmas; 0 for all.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
) -> None:  # fmt: skip
    """Rankings of values from dilemmas before and after each intervention, with rank intervals."""

    def work() -> None:
        wanted = resolve(value)
        lm = load(model or None)
        if lm.embedded:
            chosen = [m.strip() for m in methods.split(",") if m.strip()]
            if unknown := sorted(set(chosen) - set(METHODS)):
                raise ReportError(f"no method {unknown[0]!r}; choose of {', '.join(METHODS)}.")
            found = world_rank_changes(lm, wanted, chosen, items or 200, seed)
        else:
            asked = load_dilemmas(dilemmas, data or None)[: items or None]
            found = rank_changes(lm, asked, SETS[dilemmas], pair_interventions(lm, wanted, seed), seed=seed)
        print("\n".join(lines(found)))

    if code := guarded(work, name="dilemmas"):
        raise typer.Exit(code)
