"""Touché ValueEval 2023: arguments and which of twenty values each draws on.

Arguments and labels lie in two files with the same rows in the same order, read side by side.
"""

from itertools import zip_longest

from ...taxonomies import taxonomy
from ..formats import csv_rows
from ..kinds import matching, one_of, text
from ..record import DataError
from ..table import Reader, Table

ID = matching(r"[A-Z]\d{5}", "an argument id such as A01002")
ARGUMENT = {
    "Argument ID": ID,
    "Conclusion": text,
    "Stance": one_of("in favor of", "against"),
    "Premise": text,
}
VALUES = taxonomy("valueeval20").values
# published column name -> our name: only the first letter differs
COLUMNS = {v[0].upper() + v[1:]: v for v in VALUES}
LABELS = {"Argument ID": ID, **dict.fromkeys(COLUMNS, one_of("0", "1"))}
_arguments = csv_rows(ARGUMENT, delimiter="\t", quoted=False, ends=False)
_labels = csv_rows(LABELS, delimiter="\t", quoted=False)


def both(path):
    """Row source: an argument and its labels, from the two files at once."""
    other = path.with_name(path.name.replace("arguments-", "labels-"))
    if not other.exists():
        raise DataError(other, 1, "", "no file", f"the labels of {path.name} are missing")
    for left, right in zip_longest(_arguments(path), _labels(other)):
        if left is None or right is None:
            shorter, longer = (path, right) if left is None else (other, left)
            raise DataError(shorter, longer[0], "Argument ID", "end of file", "rows are missing")
        if isinstance(left[1], DataError):
            yield left
        elif isinstance(right[1], DataError):
            yield right
        elif left[1]["Argument ID"] != right[1]["Argument ID"]:
            found = right[1]["Argument ID"]
            wanted = f"line {left[0]} of {path} has {left[1]['Argument ID']!r} in this row"
            yield right[0], DataError(other, right[0], "Argument ID", found, wanted)
        else:
            yield left[0], (left[1], right[1])


def argument(pair, at):
    """All values are in `label`, joined by "|"; `value` is set where there is exactly one."""
    r, marks = pair
    found = [name for column, name in COLUMNS.items() if marks[column] == "1"]
    single = len(found) == 1
    return at.record(
        r["Argument ID"],
        context_id=r["Conclusion"],
        value=found[0] if single else "",
        taxonomy="valueeval20" if single else "",
        label="|".join(found),
        prompt=r["Conclusion"],
        response=r["Premise"],
        meta={"stance": r["Stance"], "split": at.stem.removeprefix("arguments-")},
    )


READER = Reader(
    "valueeval23",
    (Table("data/arguments-*.tsv", both, argument, id="Argument ID"),),
    licence="none stated in this copy; Touché23-ValueEval is CC BY 4.0 (to verify)",
    also=("data/labels-*.tsv",),
)
