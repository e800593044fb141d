"""EgoNormia: what to do in a filmed situation, told as text; a sample of eleven robot clips.

An empty behaviour stands for "do nothing of this" and is published so.
"""

from ..formats import json_object
from ..kinds import Wrong, free, integer, list_of, one_of, pairs_of, record_of, text
from ..record import Annotation
from ..table import Reader, Table

NORM = one_of(
    *("Safety", "Privacy", "Proxemics", "Politeness", "Cooperation"),
    *("Coordination/Proactivity", "Communication/Legibility"),
)
CLIP = record_of(
    {
        "id": text,
        "behaviors": list_of(free, size=5),
        "justifications": list_of(free, size=5),
        "correct": integer,
        "sensibles": list_of(integer),
        "taxonomy": pairs_of(one_of("0", "1", "2", "3", "4"), list_of(NORM)),
        "desc": text,
    }
)


def clip(r, at):
    """One record a clip: the right behaviour is the response, its norms are the labels."""
    c = r["value"]
    if not 0 <= c["correct"] < 5:
        raise Wrong("an index from 0 to 4", c["correct"], f"{r['key']}.correct")
    if c["id"] != r["key"]:
        raise Wrong(f"the id {r['key']!r}", c["id"], f"{r['key']}.id")
    norms = c["taxonomy"].get(str(c["correct"]), [])
    return at.record(
        c["id"],
        context_id=c["id"],
        value=norms[0].lower() if norms else "",
        taxonomy="egonormia7" if norms else "",
        pole=1,
        label="|".join(norms).lower(),
        prompt=c["desc"],
        choices=tuple(c["behaviors"]),
        response=c["behaviors"][c["correct"]],
        annotators=tuple([Annotation("", c["behaviors"][i]) for i in c["sensibles"] if 0 <= i < 5]),
        meta={"justifications": c["justifications"], "sensible": c["sensibles"]},
    )


READER = Reader(
    "egonormia",
    (Table("src/final_dataset/ood_robot.json", json_object(CLIP), clip, id="id"),),
    licence="MIT (README says Apache-2.0)",
    unread={
        "src/final_dataset/ood_robot_eval.json": "answers of models",
        "src/extras/id2high.json": "settings of clips whose texts are not at hand",
        "narration_verb_taxonomy.csv": "a verb list; two lines of it are broken at the source",
    },
)
