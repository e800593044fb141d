"""NurValues: Chinese nursing cases, text only (the labelled file is not at hand)."""

from ..formats import csv_rows
from ..kinds import text
from ..table import Reader, Table


def case(r, at):
    return at.record(str(at.n), context_id=str(at.n), prompt=r["original_text"], language="zh")


READER = Reader(
    "nurvalues",
    (Table("data/original_data.csv", csv_rows({"original_text": text}, ends=False), case),),
)
