"""Value Portrait: answers to real questions, and how liking an answer goes with one's own values.

One record for each (answer, value): the annotation's weight is Spearman's rho between how much 46
people say the answer is like them and their own score on the value. The questions and answers
themselves lie in query-response-tagged.json and are looked up there.
"""

from ..formats import json_list, json_object
from ..kinds import (
    Wrong,
    anything,
    integer,
    list_of,
    matching,
    maybe,
    number,
    one_of,
    pairs_of,
    record_of,
    text,
)
from ..record import Annotation
from ..table import Reader, Table

TEN = {
    n: n.lower().replace("_", "-")
    for n in (
        *("Conformity", "Tradition", "Benevolence", "Universalism", "Self_Direction"),
        *("Stimulation", "Hedonism", "Achievement", "Power", "Security"),
    )
}
FOUR = {
    "Self_Enhancement": "self-enhancement",
    "Self_Transcendence": "self-transcendence",
    "Conservation": "conservation",
    "Openness_to_Change": "openness to change",
}
FIVE = {
    n: n.lower()
    for n in ("Openness", "Conscientiousness", "Extraversion", "Agreeableness", "Neuroticism")
}
DIGITS = matching(r"\d+", "a number in text")
SCORED = list_of(list_of(anything, size=2))
QUERY = {
    "content": record_of({"title": maybe(text), "text": text}),
    "outputs": list_of(
        record_of(
            {
                "content": text,
                "id": integer,
                "higher_pvq_correlations": SCORED,
                "correlations": SCORED,
                "bfi_correlations": SCORED,
            }
        ),
        size=5,
    ),
    "portrait_id": integer,
}
TAGGED = "data/query-response-tagged/query-response-tagged.json"


def texts(root):
    """(portrait id, option id) -> (question, answer), from the tagged file where it is at hand."""
    path = root / TAGGED
    found = {}
    for _, r in json_list(QUERY)(path) if path.exists() else ():
        if isinstance(r, dict):  # a wrong row is reported when the file is read as a table
            for o in r["outputs"]:
                found[str(r["portrait_id"]), o["id"]] = (_asked(r), o["content"])
    return found


def _asked(r):
    return "\n\n".join(t for t in (r["content"]["title"], r["content"]["text"]) if t)


def query(r, at):
    return at.record(
        f"query/{r['portrait_id']}",
        context_id=str(r["portrait_id"]),
        prompt=_asked(r),
        choices=tuple(o["content"] for o in r["outputs"]),
        meta={"part": "query"},
    )


def correlation(kind, taxonomy):
    def build(r, at):
        value = r[f"{kind}_dimension"]
        rho = r["spearman_corr"]
        prompt, answer = at.side.get((r["portrait_id"], r["option_id"]), ("", ""))
        return at.record(
            f"{kind}/{r['portrait_id']}/{r['option_id']}/{value}",
            context_id=r["portrait_id"],
            value=value,
            taxonomy=taxonomy,
            pole=(rho > 0) - (rho < 0),
            label=f"{rho:.4f}",
            prompt=prompt,
            response=answer,
            annotators=(Annotation("", "spearman", rho),),
            meta={"part": kind, "option": r["option_id"], "p": r["spearman_p_value"]},
        )

    return build


def person(r, at):
    """One record a person: annotations carry the person's score on every value."""
    v = r["value"]
    scores = {**v["pvq"], **v["higher_pvq"], **v["bfi"]}
    return at.record(
        f"person/{r['key']}",
        context_id=r["key"],
        annotators=tuple(Annotation(r["key"], name, x) for name, x in scores.items()),
        meta={"part": "person"},
    )


def survey(r, at):
    """A block of questions, and for each answer who found it how much like them (1 to 6)."""
    for portrait, options in r.items():
        for o in options:
            prompt, answer = at.side.get((portrait, o["option_id"]), ("", ""))
            yield at.record(
                f"survey/{at.n}/{portrait}/{o['option_id']}",
                context_id=portrait,
                prompt=prompt,
                response=answer,
                annotators=tuple(Annotation(who, str(x), float(x)) for x, who in o["data"]),
                meta={"part": "survey", "option": o["option_id"]},
            )


def rating(v):
    """[how much like me, person], as [4, "P506"]."""
    if type(v) is not list or len(v) != 2 or type(v[0]) is not int or not 1 <= v[0] <= 6:
        raise Wrong("[a rating from 1 to 6, a person]", v)
    text(v[1])
    return v


OPTION = record_of({"option_id": integer, "data": list_of(rating, at_least=1)})
BLOCK = pairs_of(DIGITS, list_of(OPTION, size=5), at_least=1)


def _row(kind, values):
    return {
        "portrait_id": DIGITS,
        "option_id": integer,
        f"{kind}_dimension": one_of(values),
        "spearman_corr": number,
        "spearman_p_value": number,
    }


def _scores(values):
    return record_of(dict.fromkeys(values, number))


PERSON = {"bfi": _scores(FIVE), "pvq": _scores(TEN), "higher_pvq": _scores(FOUR)}
RESULTS = "data/correlation_results/"

READER = Reader(
    "value_portrait",
    (
        Table(
            RESULTS + "pvq_correlation_results.json",
            json_list(_row("pvq", TEN)),
            correlation("pvq", "schwartz10"),
            id="portrait_id",
        ),
        Table(
            RESULTS + "higher_pvq_correlation_results.json",
            json_list(_row("higher_pvq", FOUR)),
            correlation("higher_pvq", "schwartz4"),
            id="portrait_id",
        ),
        Table(
            RESULTS + "bfi_correlation_results.json",
            json_list(_row("bfi", FIVE)),
            correlation("bfi", "bfi5"),
            id="portrait_id",
        ),
        Table(TAGGED, json_list(QUERY), query, id="portrait_id"),
        Table("data/prolific/value/main/value.json", json_object(PERSON), person),
        Table("data/prolific/survey/main/survey.json", json_list(BLOCK), survey),
    ),
    licence="MIT",
    unread={
        "data/query/*.json": "the questions again, without answers",
        "data/query-response/*.json": "96 of the 104 questions again, with their origin",
        "data/prolific/*/pilot/*.json": "pilot studies",
    },
    side=texts,
)
