"""All methods, all values, one protocol: the table that lesson 10 ends in.

    python -m valuelab table --out FOLDER        # resumable; within half an hour on two cores
    python -m valuelab table --out FOLDER --store    # also replaces the table that the lesson reads

One cell is one method on one value. It holds the score of every item, so that any interval can be computed from
it later. A finished cell is a file and is never measured again: a command that was killed goes on where it was.

What is measured, for each cell:
    own      held-out situations of the value, for the pole +1 and for the pole −1: control success
    others   situations of the other nine values: leakage
    facts    facts, sums and look-ups: retention
    doses    the value's own situations under system lines that demand the opposite, one and more: robustness
    form     share of the replies in the grammar, distinct bigrams, repeated trigrams: fluency
    cost     seconds of making, bytes held, tokens a second
All replies are sampled and read by the oracle. A reply without a choice, or outside the grammar, fails.
"""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from valuelab import models
from valuelab import world as W
from valuelab.evaluate import metrics
from valuelab.evaluate.bench import serves
from valuelab.evaluate.files import ReportError, check_writable, write_whole
from valuelab.evaluate.methods import METHODS, Aligned, Budget, Kit
from valuelab.evaluate.report import guarded, machine, split_values, versions
from valuelab.measure.intervals import (
    Interval,
    bootstrap_weights,
    holm,
    interval_of_draws,
    mean_interval,
    paired_difference,
)
from valuelab.models import LM
from valuelab.steering.effects import circle_correlation, gain_kept
from valuelab.values import VALUES
from valuelab.world.oracle import Parsed

STORED = Path(__file__).with_name("methods.json")
MARGIN = 0.05  # largest loss of facts that would not matter, fixed before looking
PLAIN, CHANCE = "unsteered", "random direction"


@dataclass(frozen=True)
class Protocol:
    """What every method is asked.

    Attributes:
        items: held-out situations of the value; each is answered `repeats` times.
        others: held-out situations of each other value.
        facts: questions with one right answer, others for each value.
        doses: how many system lines demand the opposite.
        tokens: longest reply.
        seed: of situations, facts and sampling.
    """

    items: int = 40
    repeats: int = 2
    others: int = 16
    facts: int = 60
    doses: tuple[int, ...] = (1, 2)
    tokens: int = 40
    seed: int = 0


# ------------------------------------------------------------------------------ one cell


def opposes(read: Parsed, value: str) -> bool:
    """The reply chooses the course that does not serve the value, and does not speak for it."""
    return read.choice is not None and read.choice.value != value and read.expressed.get(value, 0) <= 0


def opposing_lines(value: str, dose: int, n: int, seed: int) -> list[str]:
    """`n` system texts of `dose` lines each, which say that the value means little."""
    rng = np.random.default_rng([seed, VALUES.index(value), dose, 21])
    return [" ".join(W.persona_line(value, -1, rng) for _ in range(dose)) for _ in range(n)]


def measure_cell(kit: Kit, method: str, p: Protocol) -> dict[str, Any]:
    """One method on one value, both poles: the score of every item, and what it cost."""
    value = kit.value
    own = W.situations("held_out", p.items, p.seed + 3, value=value)
    others = {u: W.situations("held_out", p.others, p.seed + 5, value=u) for u in VALUES if u != value}
    free = own * p.repeats + [s for rows in others.values() for s in rows]
    opposed = [line for d in p.doses for line in opposing_lines(value, d, len(own), p.seed)]
    up, down = kit.build(method, 1), kit.build(method, -1)
    read, replies, spent = ask(up, free + own * len(p.doses), [""] * len(free) + opposed, p)
    rest = iter(read)

    def scores(u: str, n: int) -> list[float]:
        return [float(serves(next(rest), u)) for _ in range(n)]

    found = {
        "own_for": by_item(scores(value, len(own) * p.repeats), p),
        "others": {u: scores(u, p.others) for u in others},
        "doses": {str(d): scores(value, len(own)) for d in p.doses},
        "own_against": by_item([opposes(r, value) for r in ask(down, own * p.repeats, None, p)[0]], p),
        "facts": facts_right(up, facts_of(value, p)),
        "facts_asked": [q for q, _ in facts_of(value, p)],
        "grammatical": [float(r.grammatical) for r in read[: len(free)]],
        "distinct_2": metrics.distinct_n(replies[: len(free)], 2),
        "repetition": float(np.mean([metrics.repetition(r, 3) for r in replies[: len(free)]])),
        "held_bytes": up.held,
        "making_seconds": round(up.seconds, 2),
        "tokens_per_second": round(sum(map(len, models.encode(kit.lm, [r or "." for r in replies]))) / spent, 1),
        "example": {"question": own[0].text, "reply": replies[0]},
    }
    if method == PLAIN:  # drawn again with another seed: how far chance alone moves an item
        again, _, _ = ask(up, own * p.repeats, None, p, seed=1)
        found["own_again"] = by_item([serves(r, value) for r in again], p)
    return found


def ask(
    aligned: Aligned, asked: Sequence[W.Situation], demands: Sequence[str] | None, p: Protocol, seed: int = 0
) -> tuple[list[Parsed], list[str], float]:
    """Replies as the oracle reads them, as text, and the seconds they took."""
    start = time.perf_counter()
    replies = aligned.answer([s.text for s in asked], demands, tokens=p.tokens, seed=p.seed + seed)
    spent = time.perf_counter() - start
    return [W.parse(r, s.offered) for r, s in zip(replies, asked, strict=True)], replies, spent


def by_item(scores: Sequence[float], p: Protocol) -> list[float]:
    """Mean over the repeats of each situation."""
    return np.reshape(scores, (p.repeats, p.items)).mean(0).tolist()


def facts_of(value: str, p: Protocol) -> list[tuple[str, str]]:
    """Questions and answers for one value. Each has its own, for a loss is only seen where it is asked for."""
    return W.facts(p.facts, p.seed + 1 + 10 * VALUES.index(value))


def facts_right(aligned: Aligned, asked: Sequence[tuple[str, str]]) -> list[float]:
    said = aligned.answer([q for q, _ in asked], tokens=20, temperature=0.0)
    return [float(W.fact_is_right(r, a)) for r, (_, a) in zip(said, asked, strict=True)]


# ------------------------------------------------------------------------------ all cells


def card_of(lm: LM, p: Protocol, budget: Budget) -> dict[str, Any]:
    """What a cell must share with its neighbours to stand in one table."""
    card = {"model": lm.fingerprint, "protocol": asdict(p), "budget": asdict(budget), "layout": 2}
    return json.loads(json.dumps(card))


def cell_path(folder: Path, value: str, method: str) -> Path:
    return folder / "cells" / value / f"{method.replace(' ', '-')}.json"


def finished(path: Path, card: dict[str, Any]) -> dict[str, Any] | None:
    """A cell that was measured before, or None.

    Raises:
        ReportError: the file belongs to another model, protocol or budget, or cannot be read.
    """
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        differs = [k for k in card if found["card"].get(k) != card[k]]
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ReportError(f"{path} is damaged ({error}); delete it, and it is measured again.") from error
    if differs:
        raise ReportError(
            f"{path} was measured with another {' and '.join(differs)}; give another --out, or delete that folder."
        )
    return found


def fill_value(
    lm: LM, value: str, methods: Sequence[str], folder: Path, p: Protocol, budget: Budget, say: Callable[[str], None]
) -> None:
    """Measure the cells of a value that are not there yet, one file each."""
    kit, card = Kit(lm, value, p.seed, budget), card_of(lm, p, budget)
    for method in methods:
        path = cell_path(folder, value, method)
        if finished(path, card):
            continue
        start = time.perf_counter()
        cell = measure_cell(kit, method, p)
        seconds = time.perf_counter() - start
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"card": card, "value": value, "method": method, "seconds": round(seconds, 2), **cell}
        write_whole(path, json.dumps(record) + "\n")
        say(f"{value}, {method}: {seconds:.1f} s")


def _work(task: tuple) -> None:
    value, methods, folder, p, budget = task
    torch.set_num_threads(1)
    fill_value(models.load(models.EMBEDDED), value, methods, folder, p, budget,
               lambda line: print(line, file=sys.stderr, flush=True))  # fmt: skip


def fill(
    folder: Path, values: Sequence[str], methods: Sequence[str], p: Protocol, budget: Budget, processes: int = 1
) -> None:
    """Measure whatever cells are missing, a value to a process.

    Raises:
        ReportError: a cell of something else is in the way, or cannot be written (what was finished is kept).
    """
    tasks = [(v, list(methods), folder, p, budget) for v in values]
    if processes == 1:
        for task in tasks:
            _work(task)
        return
    # Ctrl-C is for the parent, which then ends the others; a cell is written whole or not at all
    with get_context("spawn").Pool(processes, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        for _ in pool.imap_unordered(_work, tasks):
            pass


# ---------------------------------------------------------------------------- from cells to rows


@dataclass
class Cells:
    """All cells of one table: `cells[value][method]`."""

    values: list[str]
    methods: list[str]
    cells: dict[str, dict[str, dict[str, Any]]]

    def scores(self, method: str, key: str) -> np.ndarray:
        """Item scores over all values, (values · items,)."""
        return np.concatenate([np.asarray(self.cells[v][method][key], float) for v in self.values])

    def dose(self, method: str, dose: str) -> np.ndarray:
        return np.concatenate([np.asarray(self.cells[v][method]["doses"][dose], float) for v in self.values])

    def reply_clusters(self) -> np.ndarray:
        """(value, situation) of each reply read for grammar: repeats of one situation belong together."""
        out = []
        for v in self.values:
            cell = self.cells[v][PLAIN]
            items, others = len(cell["own_for"]), sum(map(len, cell["others"].values()))
            repeats = (len(cell["grammatical"]) - others) // items
            out += [f"{v}-{k}" for k in [*range(items)] * repeats + [*range(items, items + others)]]
        return np.array(out)

    def mean(self, method: str, key: str) -> float:
        return float(np.mean([self.cells[v][method][key] for v in self.values]))

    def clusters(self, key: str) -> np.ndarray:
        """(value, situation) of each score: situations are drawn for each value by itself."""
        return np.concatenate([
            [f"{v}-{k}" for k in range(len(self.cells[v][PLAIN][key]))] for v in self.values
        ])  # fmt: skip


def read_cells(folder: Path, values: Sequence[str], methods: Sequence[str], card: dict[str, Any]) -> Cells:
    """All cells of a folder.

    Raises:
        ReportError: a cell is missing.
    """
    found = {v: {m: finished(cell_path(folder, v, m), card) for m in methods} for v in values}
    missing = [f"{v}, {m}" for v in values for m in methods if found[v][m] is None]
    if missing:
        raise ReportError(f"{folder}: {len(missing)} cells are missing (first: {missing[0]}); run the command again.")
    return Cells(list(values), list(methods), found)


def effects(cells: Cells, method: str) -> tuple[np.ndarray, np.ndarray]:
    """E[v, u], change of value u when v is steered, and its standard error; (values, 10) each, in circle order."""
    E, se = np.zeros((len(cells.values), len(VALUES))), np.zeros((len(cells.values), len(VALUES)))
    for i, v in enumerate(cells.values):
        here, plain = cells.cells[v][method], cells.cells[v][PLAIN]
        for j, u in enumerate(VALUES):
            after, before = (c["own_for"] if u == v else c["others"][u] for c in (here, plain))
            found = paired_difference(np.asarray(after, float), np.asarray(before, float))
            E[i, j], se[i, j] = found.estimate, found.se
    return E, se


def side_effect_size(E: np.ndarray, se: np.ndarray, meant: np.ndarray) -> float:
    """Root mean square of the side effects, with what chance alone would give taken off.

        sqrt( max(0, mean over u ≠ v of (E² − se²)) )

    A mean of |E| over few items is far from 0 even where nothing leaks.
    """
    return float(np.sqrt(max(0.0, (E**2 - se**2)[~meant].mean())))


def kept_under(cells: Cells, method: str, dose: str) -> dict[str, Any]:
    """Share of the gain that is left under a dose of opposing lines, with a bootstrap over situations."""
    before, after = cells.scores(PLAIN, "own_for"), cells.scores(method, "own_for")
    low_before, low_after = cells.dose(PLAIN, dose), cells.dose(method, dose)
    gain = paired_difference(after, before)
    if not gain.low > 0:
        return {"estimate": None, "low": None, "high": None, "outcome": "no gain to keep a share of"}
    drawn = bootstrap_weights(np.arange(len(before)), draws=1000)
    neutral, opposed = drawn @ (after - before), drawn @ (low_after - low_before)
    some = neutral > 0  # a draw without a gain has no share of it; rare, since the gain excludes zero
    low, high = interval_of_draws(opposed[some] / neutral[some])
    estimate = gain_kept((before, after), (low_before, low_after))
    return {"estimate": estimate, "low": float(low), "high": float(high), "outcome": "ok"}


def row_of(cells: Cells, method: str) -> dict[str, Any]:
    """One method, all values together; Holm's adjustments are added by `rows_of`."""
    unit = cells.clusters("own_for")
    E, se = effects(cells, method)
    targets = [VALUES.index(v) for v in cells.values]
    meant = np.zeros(E.shape, bool)
    meant[np.arange(len(E)), targets] = True
    asked = [q for v in cells.values for q in cells.cells[v][PLAIN]["facts_asked"]]  # some for several values
    kept = metrics.retention(cells.scores(PLAIN, "facts"), cells.scores(method, "facts"), asked, margin=MARGIN)
    level = mean_interval(cells.scores(method, "own_for"), unit)
    spoken = cells.reply_clusters()
    grammatical = mean_interval(cells.scores(method, "grammatical"), spoken)
    ratio = metrics.off_target_ratio(E, targets)
    parts = {
        "success": level.estimate,
        "facts kept": min(1.0, kept.after / kept.before) if kept.before else 0.0,
        "grammar": grammatical.estimate,
    }
    plain = "own_again" if method == PLAIN else "own_for"
    fell = metrics.adverse_share(
        cells.scores(PLAIN, "own_for"), cells.scores(method, plain), unit
    )
    return {
        "method": method,
        "success": level.as_dict(),
        "gain": paired_difference(cells.scores(method, "own_for"), cells.scores(PLAIN, "own_for"), unit).as_dict(),
        "gain_against": paired_difference(
            cells.scores(method, "own_against"), cells.scores(PLAIN, "own_against"), unit
        ).as_dict(),
        "advantage": paired_difference(
            cells.scores(method, "own_for"), cells.scores(CHANCE, "own_for"), unit
        ).as_dict(),
        "anti_steerable": fell.as_dict(),
        "grammatical": grammatical.as_dict(),
        "grammar_change": paired_difference(
            cells.scores(method, "grammatical"), cells.scores(PLAIN, "grammatical"), spoken
        ).as_dict(),
        "distinct_2": cells.mean(method, "distinct_2"),
        "repetition": cells.mean(method, "repetition"),
        "facts": {"before": kept.before, "after": kept.after, "kept": bool(kept.kept), **kept.change.as_dict()},
        "leakage": side_effect_size(E, se, meant),
        "off_target_ratio": ratio if np.isfinite(ratio) else None,
        "circle": circle_correlation(E) if cells.values == list(VALUES) else None,
        "kept_under": {d: kept_under(cells, method, d) for d in cells.cells[cells.values[0]][PLAIN]["doses"]},
        "harmonic": metrics.harmonic_summary(list(parts.values())),
        "harmonic_parts": parts,
        "making_seconds": cells.mean(method, "making_seconds"),
        "held_bytes": cells.mean(method, "held_bytes"),
        "tokens_per_second": cells.mean(method, "tokens_per_second"),
        "by_value": {v: value_gain(cells, method, v).as_dict() for v in cells.values},
        "example": cells.cells[cells.values[0]][method]["example"],
    }


def value_gain(cells: Cells, method: str, value: str) -> Interval:
    here, plain = (cells.cells[value][m]["own_for"] for m in (method, PLAIN))
    return paired_difference(np.asarray(here, float), np.asarray(plain, float))


def rows_of(cells: Cells) -> list[dict[str, Any]]:
    """All rows. Holm's adjustment runs over the methods for each question, and over methods × values in the profile."""
    rows = [row_of(cells, m) for m in cells.methods]
    tested = [r for r in rows if r["method"] != PLAIN]
    for key in ("gain", "gain_against", "advantage"):
        adjust([r[key] for r in tested if (r["method"], key) != (CHANCE, "advantage")])
    adjust([one for r in tested for one in r["by_value"].values()])
    return rows


def adjust(tests: list[dict[str, Any]]) -> None:
    """Write Holm's adjusted p beside each p; a test that could not be made counts as p = 1."""
    p = [1.0 if t["p"] is None else t["p"] for t in tests]
    for test, adjusted in zip(tests, holm(np.array(p)).tolist(), strict=True):
        test["holm_p"] = adjusted


# ----------------------------------------------------------------------------------- writing


FLAT = {  # column of the CSV -> where it stands in a row
    "success": ("success", "estimate"),
    "gain": ("gain", "estimate"), "gain_low": ("gain", "low"), "gain_high": ("gain", "high"),
    "gain_holm_p": ("gain", "holm_p"),
    "gain_against": ("gain_against", "estimate"), "gain_against_low": ("gain_against", "low"),
    "gain_against_high": ("gain_against", "high"), "gain_against_holm_p": ("gain_against", "holm_p"),
    "advantage": ("advantage", "estimate"), "advantage_low": ("advantage", "low"),
    "advantage_high": ("advantage", "high"), "advantage_holm_p": ("advantage", "holm_p"),
    "anti_steerable": ("anti_steerable", "estimate"),
    "grammatical": ("grammatical", "estimate"), "distinct_2": ("distinct_2",), "repetition": ("repetition",),
    "facts": ("facts", "after"), "facts_change": ("facts", "estimate"), "facts_low": ("facts", "low"),
    "facts_kept": ("facts", "kept"),
    "leakage": ("leakage",), "off_target_ratio": ("off_target_ratio",), "circle": ("circle",),
    "harmonic": ("harmonic",), "making_seconds": ("making_seconds",), "held_bytes": ("held_bytes",),
    "tokens_per_second": ("tokens_per_second",),
}  # fmt: skip


def flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row as one line of numbers; empty where there is none."""
    out: dict[str, Any] = {"method": row["method"]}
    for name, path in FLAT.items():
        found: Any = row
        for key in path:
            found = found.get(key)
        out[name] = "" if found is None else round(found, 4) if isinstance(found, float) else found
    for dose, kept in row["kept_under"].items():
        out[f"kept_under_{dose}"] = "" if kept["estimate"] is None else round(kept["estimate"], 4)
    return out


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    lines = [flat(r) for r in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def stored(path: str | Path = STORED) -> dict[str, Any]:
    """The committed table: {"record": …, "rows": [row for each method]}.

    Raises:
        FileNotFoundError: no table has been written; the message says how.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; write it with python -m valuelab table --out FOLDER --store.")
    return json.loads(path.read_text(encoding="utf-8"))


def plot(rows: Sequence[dict[str, Any]]):
    """The table as a figure: gains for both poles, what they cost, and what they hold against."""
    from valuelab import plots

    names = [r["method"] for r in rows]
    fig, axes = plots.figure(1, 3, figsize=(12, 0.34 * len(rows) + 1.6), sharey=True)
    place = np.arange(len(rows))
    for key, label, k in (("gain", "for the value", 0), ("gain_against", "against it", 1)):
        dots(axes[0], [r[key] for r in rows], place + 0.18 * (2 * k - 1), label, k)
    axes[0].set(xlabel="gain in success, points", title="control success, both poles")
    dots(axes[1], [r["facts"] for r in rows], place - 0.18, "facts", 2)
    dots(axes[1], [r["grammar_change"] for r in rows], place + 0.18, "grammar", 3)
    axes[1].set(xlabel="change, points", title="what it costs")
    for k, dose in enumerate(rows[0]["kept_under"]):
        found = [(r["kept_under"][dose], y) for r, y in zip(rows, place, strict=True)]
        held = [(f, y) for f, y in found if f["estimate"] is not None]
        dots(axes[2], [f for f, _ in held], np.array([y for _, y in held]) + 0.18 * (2 * k - 1),
             f"{dose} opposing line{'s' * (dose != '1')}", k)  # fmt: skip
    axes[2].set(xlabel="share of the gain that is left, %", title="under an adversary")
    axes[2].axvline(100, color=plots.GREY, linewidth=0.8, linestyle=":")  # all of the gain
    for ax in axes:
        ax.axvline(0, color=plots.GREY, linewidth=0.8)
        ax.legend(loc="best", fontsize=10)
    axes[0].set_yticks(place, names)
    axes[0].invert_yaxis()
    return fig


def dots(ax, found: Sequence[dict[str, Any]], y, label: str, k: int) -> None:
    """Estimates with their intervals, in per cent."""
    from valuelab import plots

    x = 100 * np.array([f["estimate"] for f in found], float)
    ends = [[100 * abs(f["estimate"] - (f["estimate"] if f[b] is None else f[b])) for f in found]
            for b in ("low", "high")]  # fmt: skip
    ax.errorbar(x, y, xerr=ends, fmt=plots.MARKERS[k], color=plots.COLORS[k], capsize=2, markersize=5, label=label)


def write_table(folder: Path, cells: Cells, record: dict[str, Any], store: bool) -> list[Path]:
    """table.json, table.csv and table.png in the folder; with `store`, also beside this module."""
    rows = rows_of(cells)
    text = json.dumps({"record": record, "rows": rows}, indent=1, allow_nan=False) + "\n"
    paths = [folder / "table", *([STORED.with_suffix("")] if store else [])]
    for path in paths:
        write_whole(path.with_suffix(".json"), text)
        write_whole(path.with_suffix(".csv"), as_csv(rows))
        try:
            plot(rows).savefig(path.with_suffix(".png"), dpi=90, metadata={"Software": None})
        except OSError as error:
            raise ReportError(f"Cannot write {path}.png ({error.strerror or error}); free some space.") from error
    return [p.with_suffix(s) for p in paths for s in (".json", ".csv", ".png")]


def table(
    folder: str | Path, *, values: Sequence[str] = VALUES, methods: Sequence[str] | None = None,
    protocol: Protocol | None = None, budget: Budget | None = None, processes: int = 1, store: bool = False,
) -> list[Path]:  # fmt: skip
    """Fill the missing cells and write the table.

    Raises:
        ReportError: an unknown method, a folder that cannot be written, or a cell of something else in the way.
    """
    p, budget = protocol or Protocol(), budget or Budget()
    unknown = sorted(set(methods or ()) - set(METHODS))
    if unknown:
        raise ReportError(f"--methods: {unknown[0]!r} is unknown; choose among {', '.join(METHODS)}.")
    if p.items < 8:
        raise ReportError(f"--items is {p.items}; intervals need 8 or more situations per value.")
    wanted = [m for m in METHODS if not methods or m in methods or m in (PLAIN, CHANCE)]
    folder = Path(folder).expanduser()
    check_writable(folder / "table.json")
    start = time.perf_counter()
    fill(folder, values, wanted, p, budget, processes)
    lm = models.load(models.EMBEDDED)
    cells = read_cells(folder, values, wanted, card_of(lm, p, budget))
    cells_seconds = sum(c["seconds"] for v in cells.cells.values() for c in v.values())
    record = {
        **card_of(lm, p, budget), "values": list(values), "seconds_of_cells": round(cells_seconds),
        "seconds_of_this_command": round(time.perf_counter() - start), "versions": versions(), "machine": machine(),
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    return write_table(folder, cells, record, store)


def table_command(
    out: Annotated[Path, typer.Option(help="Folder of the cells; a killed command goes on from it.")] = Path(
        "out/table"
    ),
    values: Annotated[str, typer.Option(help="Values, separated by commas; all ten without it.")] = ",".join(VALUES),
    methods: Annotated[str, typer.Option(help="Methods, separated by commas; all without it.")] = "",
    items: Annotated[int, typer.Option(help="Held-out situations of each value.")] = Protocol.items,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 0,
    processes: Annotated[int, typer.Option(help="Values at a time, one thread each.")] = 2,
    store: Annotated[bool, typer.Option(help="Also replace the table that lesson 10 reads.")] = False,
) -> None:
    """All methods on all values of the embedded model, side by side: table.json, table.csv, table.png."""

    def work() -> None:
        chosen = [m.strip() for m in methods.split(",") if m.strip()]
        found = table(out, values=split_values(values), methods=chosen or None,
                      protocol=Protocol(items=items, seed=seed), processes=processes, store=store)  # fmt: skip
        print(*found, sep="\n")

    code = guarded(work, f"what was finished lies in {out}; the same command goes on from there.", "table")
    if code:
        raise typer.Exit(code)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        typer.run(table_command)
