"""MoRT: how right people find 116 actions, and what sentence encoders make of the same actions.

One record an action and score. `weight` of the annotation is the share of people who said yes, or
the encoder's moral score; a negative score is a "don't".
"""

from ..formats import csv_rows
from ..kinds import real, text
from ..record import Annotation
from ..table import Reader, Table

BASE = "Supplemental_Material/"


def score(r, at):
    """`pole` is the sign of the score; for people's shares the middle is one half."""
    people = at.parts[1] == "UserStudy"
    x = r["Score"] - 0.5 if people else r["Score"]
    return at.record(
        f"{at.parts[-1]}/{at.stem}/{at.n}",
        context_id=r["Action"],
        pole=(x > 0) - (x < 0),
        label=f"{r['Score']:.4f}",
        prompt=r["Action"],
        annotators=(Annotation(at.stem, "yes" if people else "moral score", r["Score"]),),
        meta={"part": at.parts[-1]},
    )


def verbs(r, at):
    """A verb and the objects it is tried with."""
    return at.record(
        f"subspace/{at.n}", context_id=r["verb"], prompt=r["verb"],
        choices=tuple(o for o in r["objects"].split(";") if o), meta={"part": "subspace"},
    )  # fmt: skip


SCORED = {"Action": text, "Score": real}
TURNED = {"Score": real, "Action": text}


def _table(pattern, schema, header=False, ends=True):
    return Table(BASE + pattern, csv_rows(schema, header=header, ends=ends), score)


READER = Reader(
    "mort",
    (
        _table("UserStudy/userStudy_score_*.csv", SCORED, header=True),
        _table("MoralScore/userstudy/BERT_*.csv", SCORED, ends=False),
        _table("MoralScore/userstudy/glove_cossim.csv", SCORED, header=True),
        _table("MoralScore/userstudy/USE_cossim.csv", TURNED),
        _table("MoralScore/weat/*.csv", TURNED),
        _table("MoralScore/figures/*.csv", TURNED),
        Table(
            f"{BASE}MoralScore/actions_for_subspace/list.csv",
            csv_rows({"verb": text, "objects": text}, header=False, ends=False),
            verbs,
        ),
    ),
    licence="MIT",
    unread={
        "Supplemental_Material/UserStudy/userStudy_diff_score.csv": "differences of the two",
        "Supplemental_Material/UserStudy/StimuliMoral.txt": "the same actions as questions",
        "MoRT/data/*": "the same scores again, and counts they were computed from",
        "MoRT/data/*/*": "the same scores again, and counts they were computed from",
        "MoRT/data/*/*/*": "the same scores again, and counts they were computed from",
    },
)
