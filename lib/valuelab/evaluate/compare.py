"""`python -m valuelab compare A.json B.json`: two reports side by side, and what differs beyond chance.

`python -m valuelab card REPORT.json` writes a model card from one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from valuelab.evaluate.capstone import Plan, model_card, read_interval
from valuelab.evaluate.files import ReportError, check_writable, write_whole
from valuelab.evaluate.report import guarded
from valuelab.measure.intervals import Interval, holm

POINTS = ("gain", "advantage", "ability_change")


def read_report(path: str | Path) -> dict[str, Any]:
    """The numbers of a report.

    Raises:
        ReportError: no such file, or no report.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        found["values"], found["readout"], found["model"]["model"], found["seeds"], found["options"]
    except OSError as error:
        raise ReportError(f"Cannot read {path} ({error.strerror or error}); give the JSON beside a report.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path} is no report ({error}); give the JSON that `report` writes.") from error
    return found


def difference(a: Interval, b: Interval) -> Interval:
    """b − a of two estimates from runs of their own, with a normal interval and its p.

    se² = se_a² + se_b². If both runs met the same items this is wider than need be, never too short for
    answers that rise and fall together.
    """
    from scipy.stats import norm

    estimate, se = b.estimate - a.estimate, math.hypot(a.se, b.se)
    if not 0 < se < math.inf:
        return Interval(estimate, -math.inf, math.inf, math.inf, a.n + b.n, a.clusters + b.clusters, None, "no spread")
    half = float(norm.ppf(0.975)) * se
    p = float(2 * norm.sf(abs(estimate) / se))
    return Interval(estimate, estimate - half, estimate + half, se, a.n + b.n, a.clusters + b.clusters, p)


def shared(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(value, method) that both reports hold."""
    for value in a["values"]:
        if value in b["values"]:
            here, there = a["values"][value]["comparisons"], b["values"][value]["comparisons"]
            yield from ((value, method) for method in here if method in there)


def compare(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each value, method and point that both reports hold; Holm's adjustment over all rows.

    Raises:
        ReportError: different readouts (their points are not the same thing), or nothing in common.
    """
    if a["readout"] != b["readout"]:
        raise ReportError(
            f"The first report was read by {a['readout']}, the second by {b['readout']}: their points measure "
            "different things. Compare reports of one readout."
        )
    rows = []
    for value, method in shared(a, b):
        for point in POINTS:
            one, two = (read_interval(r["values"][value]["comparisons"][method][point]) for r in (a, b))
            rows.append({"value": value, "method": method, "point": point, "a": one, "b": two,
                         "difference": difference(one, two)})  # fmt: skip
    if not rows:
        raise ReportError(
            "The two reports share no value and method; run both with the same --values"
            + "".join(f"; {line}" for line in unlike(a, b) if "not run" in line) + "."
        )  # fmt: skip
    tested = [1.0 if r["difference"].p is None else r["difference"].p for r in rows]
    for row, p in zip(rows, holm(np.array(tested)).tolist(), strict=True):
        row["holm_p"] = p
    return rows


def unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What else differs between the two runs, a line each: model, methods not run, seeds, options, versions."""
    lines = []
    if a["model"] != b["model"]:
        lines.append(f"model: {a['model']['model']} against {b['model']['model']}")
    for name, report in (("first", a), ("second", b)):
        for value, one in report["values"].items():
            lines += [f"{value}, {m}: not run in the {name} report: {why}" for m, why in one.get("not_run", {}).items()]
    for part in ("seeds", "options", "versions"):
        here, there = a.get(part, {}), b.get(part, {})
        lines += [f"{part}, {k}: {here.get(k)} against {there.get(k)}" for k in {**here, **there}
                  if here.get(k) != there.get(k)]  # fmt: skip
    return lines


def as_text(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """The comparison as lines of text, points in per cent."""
    lines = [f"{'value':15s} {'method':16s} {'point':15s} {'A':>7s} {'B':>7s}  {'B − A':>7s}  95 % interval     Holm p"]
    for row in compare(a, b):
        d = row["difference"]
        span = f"[{100 * d.low:+.1f}, {100 * d.high:+.1f}]" if math.isfinite(d.se) else f"({d.outcome})"
        lines.append(
            f"{row['value']:15s} {row['method']:16s} {row['point']:15s} {100 * row['a'].estimate:+7.1f} "
            f"{100 * row['b'].estimate:+7.1f}  {100 * d.estimate:+7.1f}  {span:17s} {row['holm_p']:.3f}"
        )
    found = unlike(a, b)
    return "\n".join([*lines, "", *(found or ["same model, seeds, options and versions"])])


def compare_command(
    a: Annotated[Path, typer.Argument(help="JSON of the first report.")],
    b: Annotated[Path, typer.Argument(help="JSON of the second report.")],
) -> None:
    """Two reports side by side: gain, advantage and ability, B minus A, with Holm-adjusted p."""
    code = guarded(lambda: print(as_text(read_report(a), read_report(b))), name="compare")
    if code:
        raise typer.Exit(code)


def card_command(
    report: Annotated[Path, typer.Argument(help="JSON of a report.")],
    value: Annotated[str, typer.Option(help="Value; the report's first without it.")] = "",
    method: Annotated[str, typer.Option(help="Method of the report.")] = "mean difference",
    smallest_gain: Annotated[float, typer.Option(help="A gain below this would not matter.")] = Plan.smallest_gain,
    margin: Annotated[float, typer.Option(help="A loss of ability below this would not matter.")] = Plan.margin,
    out: Annotated[Path, typer.Option(help="Markdown file to write.")] = Path("out/MODEL_CARD.md"),
) -> None:
    """A model card in Markdown, from a report's numbers."""

    def work() -> None:
        found = read_report(report)
        chosen = value or next(iter(found["values"]))
        if why := found["values"].get(chosen, {}).get("not_run", {}).get(method):
            raise ReportError(f"{report}: {method} was not run for {chosen}, so a card would be empty: {why}.")
        if method not in found["values"].get(chosen, {"comparisons": {}})["comparisons"]:
            known = "; ".join(f"{v}: {', '.join(one['comparisons']) or 'none'}" for v, one in found["values"].items())
            raise ReportError(f"{report} holds no {method!r} for {chosen!r}; it holds {known}.")
        write_whole(check_writable(out), model_card(found, Plan(chosen, method, smallest_gain, margin)))
        print(out)

    code = guarded(work, name="card")
    if code:
        raise typer.Exit(code)
