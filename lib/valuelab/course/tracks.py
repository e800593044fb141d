"""The workshop's tracks, and whether the machine keeps to their time: `python -m valuelab.course.tracks [NAME …]`.

In a workshop everybody chooses Run All first: an untouched notebook runs to its end on the course's own functions. The
room then talks about the figures and does the exercises of the track. So what has to fit is twofold: the exercises
into the slot, and Run All into a tenth of it.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from .lesson import Lesson, LessonError

SHARE = 0.1  # of a slot's time may go to waiting for Run All


@dataclass(frozen=True)
class Slot:
    """A lesson's place in a track.

    `exercises` are done in the room; `say` is what the speaker has to get across, `spare` what goes first when the
    clock runs ahead.
    """

    lesson: str
    minutes: int
    exercises: tuple[str, ...]
    say: str
    spare: str

    @property
    def seconds(self) -> float:
        """Machine time that Run All may take."""
        return SHARE * 60 * self.minutes


TRACKS = {
    "90 minutes": (
        Slot("00", 30, ("0.1",),
             "A value is planted; the profile finds it, the slider moves it. Have the room guess which value "
             "falls when security rises, before anybody touches the slider.",
             spare="exercise 0.1"),
        Slot("04", 35, ("4.2",),
             "One formula on the board: how far must a state move until the probe says 0.9? Then the control: a "
             "random push of equal length.",
             spare="the widget"),
        Slot("07", 25, ("7.1",),
             "A sum lets one reward pay for another, an AND does not: have the room place the point (6, 0) in "
             "the first figure.",
             spare="exercise 7.1: show its figure"),
    ),
    "one day": (
        Slot("00", 30, ("0.1", "0.2"),
             "What was planted, and the wording that follows: the method recovers it.",
             spare="exercise 0.2"),
        Slot("01", 50, ("1.3", "1.4"),
             "Words alone can give a label away; the random split hides it. Let people guess what the squares of "
             "the first figure read.",
             spare="exercise 1.4"),
        Slot("03", 60, ("3.1", "3.2", "3.3"),
             "A probe's accuracy means something beside a bag of words, shuffled labels and an untrained model, "
             "and on contexts it has not seen.",
             spare="exercise 3.3"),
        Slot("04", 70, ("4.1", "4.2", "4.4", "4.7"),
             "The shortest push; several at once; what a closed gate preserves. Before 4.4: will the first or "
             "the last value miss its target?",
             spare="exercise 4.1"),
        Slot("07", 70, ("7.1", "7.3", "7.4"),
             "Equal β is no fair comparison: ask what multiplying a reward by ten does. Have the honest table of "
             "section 7 predicted row by row before it is run.",
             spare="exercise 7.3"),
        Slot("10", 50, ("10.1", "10.2"),
             "A measured effect has an interval, a price and a judge. Have the random push predicted before the "
             "first figure is shown.",
             spare="exercise 10.2"),
    ),
}  # fmt: skip


def timetable(slots, lessons: dict[str, Lesson]) -> list[str]:
    """Rows of a table: clock, lesson, what the room does, what the speaker says, what goes first."""
    rows, clock = ["| clock | lesson | in the room | say | goes first |", "|--:|---|---|---|---|"], 0
    for slot in slots:
        if slot.lesson not in lessons:
            continue
        lesson = lessons[slot.lesson]
        work = sum(c.minutes for c in lesson.exercises if c.exercise in slot.exercises)
        rows.append(f"| {clock // 60}:{clock % 60:02d} | [{lesson.title}](../notebooks/{lesson.slug}.ipynb), "
                    f"{slot.minutes} minutes | "
                    f"{', '.join(slot.exercises)} ({work} minutes) | {slot.say} | {slot.spare} |")  # fmt: skip
        clock += slot.minutes
    return [*rows, f"| {clock // 60}:{clock % 60:02d} | end | | | |"]


def run(slots, base: Path) -> list[tuple[str, float, float]]:
    """Run All, headless, on each lesson of a track as the participants get it: (lesson, seconds, budget) each.

    Raises:
        LessonError: a cell failed.
    """
    from .build import notebook, sources
    from .lesson import read
    from .run import execute

    rows = []
    for slot in slots:
        lesson = read(sources(base, [slot.lesson])[0])
        seconds = execute(notebook(lesson, "student"), base / "notebooks", lesson.slug)
        rows.append((lesson.slug, seconds, slot.seconds))
        print(f"{lesson.slug}: {seconds:.0f} s of {slot.seconds:.0f}", flush=True)
    return rows


def main(arguments=None) -> int:
    from .build import root

    p = argparse.ArgumentParser(prog="python -m valuelab.course.tracks", description=__doc__.splitlines()[0])
    p.add_argument("tracks", nargs="*", help=f"{', '.join(TRACKS)}; all if none is given")
    wanted = p.parse_args(arguments).tracks or list(TRACKS)
    if unknown := set(wanted) - set(TRACKS):
        print(f"tracks: there is no {', '.join(sorted(unknown))}; there are {', '.join(TRACKS)}.", file=sys.stderr)
        return 1
    late = False
    for name in wanted:
        try:
            rows = run(TRACKS[name], root())
        except LessonError as error:
            print(f"tracks: {name}: {error}", file=sys.stderr)
            return 1
        over = [slug for slug, seconds, budget in rows if seconds > budget]
        late |= bool(over)
        total = sum(seconds for _, seconds, _ in rows)
        print(f"{name}: {total:.0f} s in all, " + (f"TOO LONG: {', '.join(over)}" if over else "within its time"))
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
