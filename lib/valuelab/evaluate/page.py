"""From the numbers of a report to the page that people read. Every sentence follows from the JSON."""

from __future__ import annotations

from typing import Any

from valuelab.evaluate import figures, html
from valuelab.evaluate.html import Markup, bullets, figure, paragraph, section, table, tag

METHOD_TEXT = {
    "closed form": "the smallest step at each token that moves a logistic probe to a target "
    "probability",
    "mean difference": "one fixed step along the difference between the mean states for and "
    "against the value",
}
NO_STEERING = "No way of steering was run, for the reason under Findings, so there is nothing to compare."
EVIDENCE = 0.05  # Holm-adjusted p below which an advantage counts as shown


def points(stored: dict[str, Any]) -> str:
    """A difference in percentage points with its interval."""
    return f"{100 * stored['estimate']:+.1f} {span(stored, 100)}"


def percent(stored: dict[str, Any]) -> str:
    return f"{100 * stored['estimate']:.1f} % {span(stored, 100)}"


def score(stored: dict[str, Any], digits: int = 3) -> str:
    """A mean in its own units with its interval, and how many items gave no number."""
    told = span(stored, 1, digits)
    if stored["estimate"] is not None:
        told = f"{stored['estimate']:.{digits}f} {told}"
    return told + (f", {stored['invalid']} not finite" if stored["invalid"] else "")


def span(stored: dict[str, Any], scale: float, digits: int = 1) -> str:
    """The interval, or in words why there is none."""
    if stored["low"] is None or stored["high"] is None:
        return f"({stored['outcome']})"
    if stored["low"] == stored["high"]:
        return f"(all {stored['n']} alike)"
    return f"[{scale * stored['low']:.{digits}f}, {scale * stored['high']:.{digits}f}]"


def small(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def number(x: float | None, digits: int = 2) -> str:
    return "–" if x is None else f"{x:.{digits}f}"


# -------------------------------------------------------------------------------- verdicts


def shown(comparison: dict[str, Any]) -> bool:
    """The steered model beats its random twin beyond chance, after Holm's adjustment."""
    best = comparison["advantage"]
    return best["estimate"] > 0 and best["holm_p"] < EVIDENCE


def verdict(value: str, method: str, one: dict[str, Any]) -> str:
    """One sentence on one method; what was not shown is not said to be absent."""
    found = one["comparisons"][method]
    best, p = found["advantage"], small(found["advantage"]["holm_p"])
    if shown(found):
        return (
            f"{method} raised control success for {value} by {points(best)} points more than random "
            f"steps of the same sizes (Holm-adjusted p {p})."
        )
    if best["estimate"] < 0 and best["holm_p"] < EVIDENCE:
        return (
            f"{method} did worse for {value} than random steps of the same sizes: {points(best)} "
            f"points (Holm-adjusted p {p})."
        )
    return (
        f"{method} did not show an effect for {value} beyond random steps of the same sizes: "
        f"{points(best)} points (Holm-adjusted p {p})."
    )


def unread(probe: dict[str, Any]) -> str:
    """Layers that cannot be read, by reason, as a sentence; "" where all can."""
    layers: dict[str, list[str]] = {}
    for row in probe["nothing_to_read"]:
        layers.setdefault(row["why"], []).append(str(row["layer"]))
    told = "; ".join(
        f"layer{'s' * (len(which) > 1)} {', '.join(which)} ({why.rstrip('.')})" for why, which in layers.items()
    )
    return f"Nothing to read at {told}." if told else ""


def reads(one: dict[str, Any]) -> bool:
    """The probe is above one half and above the n-grams on unseen contexts."""
    nested, gap = one["probe"]["nested"], one["probe"]["beyond_words"]
    return nested is not None and nested["low"] is not None and nested["low"] > 0.5 and (gap["low"] or 0) > 0


def probe_verdict(value: str, one: dict[str, Any]) -> str:
    nested, words = one["probe"]["nested"], one["probe"]["n_grams"]
    if nested is None:
        return f"No layer holds anything by which a probe could tell {value}; n-grams alone reach {percent(words)}."
    told = (
        f"A probe told {value} from its absence in unseen contexts with accuracy "
        f"{percent(nested)}; n-grams alone reach {percent(words)}"
    )
    if reads(one):
        return told + "."
    if nested["low"] is not None and nested["low"] > 0.5:
        return told + ", so the accuracy is no evidence of more than words."
    return told + ". That is not above chance: there may be no direction here to steer with."


# -------------------------------------------------------------------------------- sections


def build(results: dict[str, Any]) -> str:
    """The whole page."""
    values = results["values"]
    title = f"Report card: steering {' and '.join(values)}"
    lead = paragraph(
        f"{results['model']['summary']}. Readout: {results['readout']}. "
        f"{results['made']}, {results['seconds']['total']:.0f} s.",
        kind="soft",
    )
    sections = {
        "Findings": findings(results),
        "What was done": what_was_done(results),
        "What was measured on": measured_on(results),
    }
    for value, one in values.items():
        sections[f"Results for {value}"] = results_of(value, one, results)
    sections["What may and may not be concluded"] = conclusions(results)
    sections["Versions, seeds and seconds"] = provenance(results)
    return html.page(title, lead, sections)


def findings(results: dict[str, Any]) -> list[Markup]:
    out = [notes(results)] if results["notes"] else []
    for value, one in results["values"].items():
        good = any(shown(c) for c in one["comparisons"].values())
        lines = [tag("li", line) for line in (probe_verdict(value, one), unread(one["probe"])) if line]
        lines += [tag("li", sentence(f"{m} was not run for {value}: {why}.")) for m, why in one["not_run"].items()]
        lines += [tag("li", sentence(verdict(value, m, one))) for m in one["comparisons"]]
        lines += [tag("li", sentence(cost(m, one))) for m in one["comparisons"]]
        kind = "verdict yes" if good else "verdict no"
        outcome = "shown" if good else "not shown" if one["comparisons"] else "not run"
        name = f"{value}: steering {outcome}"
        out.append(tag("div", tag("h3", name), tag("ul", *lines), kind=kind))
    return out


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def cost(method: str, one: dict[str, Any]) -> str:
    """What the method cost: ability and fluency."""
    found = one["comparisons"][method]
    kept = "is kept within" if found["ability_kept"] else "is not shown to be kept within"
    before = one["conditions"]["unsteered"]["fluency"]
    after = one["conditions"][method]["fluency"]
    told = (
        f"under {method} the ability {kept} {100 * found['margin']:.0f} points "
        f"({points(found['ability_change'])}); perplexity of the replies goes from "
        f"{perplexity(before)} to {perplexity(after)}"
    )
    grammar = found["extra"].get("grammatical")
    return told + (f"; grammatical replies {points(grammar['gain'])} points." if grammar else ".")


def perplexity(fluency: dict[str, Any]) -> str:
    return f"none ({fluency['no_perplexity']})" if fluency["perplexity"] is None else number(fluency["perplexity"])


def notes(results: dict[str, Any]) -> Markup:
    return tag("div", tag("h3", "Please note"), bullets(results["notes"]), kind="verdict")


def what_was_done(results: dict[str, Any]) -> list[Markup]:
    steps = [
        "Hidden states of texts for and against each value were read at every layer.",
        "Probes were trained and judged on contexts that they had not seen; the layer was chosen "
        "inside each fold, never on the texts that it is judged by.",
        "Two ways of steering were set up: " + "; ".join(
            f"{name}, {text}" for name, text in METHOD_TEXT.items()) + ".",
        "Layer and strength of each were chosen on items of their own.",
        "The same held-out items were answered by the unsteered model, under each way of steering, "
        "and under random steps: at every token as long as the step that they are compared with, "
        "in another random direction for every item.",
        "All comparisons are paired by item. Intervals are 95 %, with the context as the unit; those of "
        "shares, and of their changes, are made of Wilson's, which keep a width where all answers are alike; "
        "p-values of the advantages are adjusted for all values and methods by Holm's rule.",
    ]  # fmt: skip
    left_out = [f"{m} for {value}" for value, one in results["values"].items() for m in one["not_run"]]
    if left_out:
        steps.append(f"Not done, for the reasons under Findings: {', '.join(left_out)}.")
    return [tag("ol", *(tag("li", s) for s in steps))]


def measured_on(results: dict[str, Any]) -> list[Markup]:
    return [
        paragraph(f"Control success: the share of items for which the model {results['score']}."),
        bullets(results["bench"]),
        paragraph(f"Ability: {results['ability']}."),
    ]


def results_of(value: str, one: dict[str, Any], results: dict[str, Any]) -> list[Markup]:
    return [
        section(f"Probes: {value}", *probes(value, one), level=3),
        section(f"Control success: {value}", *control(value, one), level=3),
        section(f"Fluency: {value}", fluency(value, one), level=3),
        section(f"Side effects: {value}", *side_effects(value, one), level=3),
        section(f"Replies: {value}", *replies(one), level=3),
    ]


def probes(value: str, one: dict[str, Any]) -> list[Markup]:
    probe = one["probe"]
    missing = unread(probe)
    if probe["nested"] is None:
        return [paragraph(f"{missing} So there is no figure here. n-grams {percent(probe['n_grams'])}, "
                          f"{probe['texts']} texts in {probe['contexts']} contexts.")]  # fmt: skip
    best = max(
        (row[m]["estimate"], int(k), m) for k, row in probe["layers"].items() for m in row
    )  # fmt: skip
    caption = (
        f"Accuracy on unseen contexts by layer; the highest point is {100 * best[0]:.1f} % "
        f"({best[2]}, layer {best[1]}). With the layer chosen inside each fold the logistic probe "
        f"reaches {percent(probe['nested'])}; n-grams {percent(probe['n_grams'])}; shuffled labels "
        f"{percent(probe['shuffled'])}. The probe is {points(probe['beyond_words'])} points above "
        f"the n-grams. {probe['texts']} texts in {probe['contexts']} contexts. {missing}".strip()
    )
    alt = f"Probe accuracy for {value} by layer with two baselines; the numbers are in the caption."
    return [figure(figures.probe_curve(probe, value), alt, caption)]


def control(value: str, one: dict[str, Any]) -> list[Markup]:
    conditions, comparisons = one["conditions"], one["comparisons"]
    first = "; ".join(f"{k} {percent(c['success'])}" for k, c in conditions.items())
    out = [
        figure(
            figures.success_dots(conditions, value),
            f"Control success for {value} under each condition; the numbers are in the caption.",
            f"Control success: {first}. Hollow marks are random steps.",
        ),
    ]  # fmt: skip
    if not comparisons:
        return [*out, paragraph(NO_STEERING), secondary(value, one)]
    out.append(
        figure(
            figures.gain_dots(comparisons, value),
            f"Paired differences in control success for {value}; the numbers are in the table below.",
            "Each difference is taken item by item. Only the difference from the random twin is "
            "evidence for the direction: "
            + "; ".join(f"{m} {points(c['advantage'])}" for m, c in comparisons.items()) + ".",
        )
    )  # fmt: skip
    rows = [
        [m, points(c["gain"]), points(c["random_gain"]), points(c["advantage"]),
         small(c["advantage"]["holm_p"]), percent(c["adverse_share"])]
        for m, c in comparisons.items()
    ]  # fmt: skip
    header = ["method", "gain over unsteered", "random twin's gain", "advantage", "Holm p",
              "items moved the wrong way"]  # fmt: skip
    out.append(table(header, rows, f"Control success for {value}, in points, paired by item"))
    out += [secondary(value, one), *settings(one)]
    return out


def secondary(value: str, one: dict[str, Any]) -> Markup:
    """Other readouts of the same answers, in their own units."""
    names = list(one["conditions"]["unsteered"]["extra"])
    header = ["condition", *names]
    rows = [
        [name, *(score(c["extra"][k]) for k in names)]
        for name, c in one["conditions"].items()
    ]
    return table(header, rows, f"Other readouts of the same answers: {value}")


def settings(one: dict[str, Any]) -> list[Markup]:
    dial = {"closed form": "target probability", "mean difference": "step over length of a state"}
    told = []
    for method, c in one["chosen"].items():
        warning = "" if c["form_kept"] else " No setting kept the form; this one kept it best."
        if c["settings_not_finite"]:
            warning += f" {c['settings_not_finite']} more gave log-probabilities that are not finite."
        told.append(
            f"{sentence(method)}: layer {c['layer']}, {dial[method]} {c['dial']:g}, chosen among "
            f"{c['settings_tried']} settings (gain there {c['gain_when_choosing']:+.3f}).{warning}"
        )
    return [bullets(told)]


def fluency(value: str, one: dict[str, Any]) -> Markup:
    header = ["condition", "perplexity", "different bigrams", "repeated trigrams", "empty", "words"]
    rows = [
        [name, perplexity(f), number(f["distinct_2"]), number(f["repetition"], 3),
         number(f["empty"]), number(f["words"], 1)]
        for name, c in one["conditions"].items() for f in [c["fluency"]]
    ]  # fmt: skip
    caption = (
        f"Fluency of the replies for {value}. Perplexity is that of the replies under the unsteered "
        "model; low perplexity with many repeated trigrams is a stuck model, not a fluent one. A dash: no "
        "reply is long enough"
    )
    return table(header, rows, caption)


def side_effects(value: str, one: dict[str, Any]) -> list[Markup]:
    told = []
    for method, found in one["leakage"].items():
        moved = [u for u, p in found["holm_p"].items() if p < EVIDENCE]
        told.append(
            f"{sentence(method)}: "
            + (f"also moved {', '.join(moved)}" if moved else "no other value moved beyond chance")
            + f" (Holm over the nine); {ratio(found['off_target_ratio'])}; {circle(found['circle'])}."
        )
    caption = "Change of each value's score, from the steered value around the circle. " + " ".join(told)
    alt = f"Change of all ten values when {value} is steered; the findings are in the caption."
    rows = [
        [name, percent(c["ability"]),
         "–" if name not in one["comparisons"] else points(one["comparisons"][name]["ability_change"])]
        for name, c in one["conditions"].items()
    ]  # fmt: skip
    ability = table(["condition", "right", "change in points"], rows, f"Ability under steering for {value}")
    if not told:
        return [paragraph(NO_STEERING), ability]
    return [figure(figures.leakage_dots(one["leakage"], value), alt, caption), ability]


def ratio(found: float | None) -> str:
    if found is None:
        return "no off-target ratio, since the value's own score did not move or is missing"
    return f"off-target ratio {number(found)}"


def circle(found: dict[str, float] | None) -> str:
    if found is None:
        return "no side effects that differ, so nothing to hold against the circle"
    return (
        f"correlation of the side effects with the circle {found['correlation']:+.2f} "
        f"(permutation p {small(found['p'])})"
    )


def replies(one: dict[str, Any]) -> list[Markup]:
    out = [paragraph("The first items of the list, not the best ones.", kind="soft")]
    for example in one["examples"]:
        rows = [[k, v or "(empty)"] for k, v in example.items() if k != "prompt"]
        out.append(tag("blockquote", example["prompt"]))
        out.append(table(["condition", "reply"], rows, "Replies to this prompt"))
    return out


def conclusions(results: dict[str, Any]) -> list[Markup]:
    may, may_not = [], []
    for value, one in results["values"].items():
        may_not += [f"Anything about {method} for {value}: it was not run." for method in one["not_run"]]
        for method, found in one["comparisons"].items():
            if shown(found):
                may.append(
                    f"On this model, items and settings, {method} for {value} does more than a "
                    "push of the same size in a random direction."
                )
            else:
                may_not.append(
                    f"That {method} for {value} has no effect: the interval "
                    f"{span(found['advantage'], 100)} points is what can be said."
                )
    embedded = results["readout"] == "oracle"
    if embedded:
        may.append("The method recovers, or fails to recover, what was planted in a small world.")
        may_not.append(
            "Anything about the values of people or of large models: this one was trained on a "
            "generated world of a few hundred words."
        )
    else:
        may_not.append(
            "How the model would act or what it would say: only the likelihood of given sentences "
            "was read."
        )
    may_not += [
        "That the direction is the value itself: a probe that reads and a push that works can both "
        "rest on something that goes along with the value.",
        "That another training seed, another set of pairs or another wording gives the same figures: "
        "one model and one seed were measured.",
        "That steering is better than a plain instruction"
        + (": compare the row 'instruction' above." if embedded else ", which was not compared here."),
    ]
    if not may:
        may.append("That the chain ran to its end, and that no effect beyond random was shown.")
    return [tag("h3", "May be concluded"), bullets(may), tag("h3", "May not be concluded"),
            bullets(may_not)]  # fmt: skip


def provenance(results: dict[str, Any]) -> list[Markup]:
    groups = ("versions", "machine", "seeds", "seconds", "options", "model")
    return [
        table([name, "value"], [[k, v if v is not None else "–"] for k, v in results[name].items()],
              sentence(name))
        for name in groups
    ]  # fmt: skip
