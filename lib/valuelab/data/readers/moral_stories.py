"""Contrastive Moral Stories: a norm and an action that keeps or breaks it; Social-Chem-101 rows.

Five variants of the stories lie side by side: as written (original), with three norms an action
(contra), with the norm turned round by rules or by a model (anti, anti_llama), and with norms that
leave the choice open (optional).
"""

from ..formats import csv_rows, jsonl_rows
from ..kinds import Wrong, free, maybe, number, one_of, optional, real, text, whole
from ..record import Annotation
from ..table import Reader, Table

BASE = "data/contrastive_moral_stories/"
LABEL = one_of({"1": 1, "0": 0, 1: 1, 0: 0})
NOTHING = maybe(text)
SPLIT = one_of("dev", "test", "train")
ORIGINAL = {
    "ID": text,
    "norm": text,
    "moral_action": optional(text),
    "immoral_action": optional(text),
    "label": LABEL,
}
VARIANT = {**ORIGINAL, "moral_action": NOTHING, "immoral_action": NOTHING, "split": SPLIT}
LLAMA = {**VARIANT, "flipped-rot": text}
PARTS = {
    **{k: v for k, v in VARIANT.items() if k != "norm"},
    "rot-judgment": text,
    "rot-action": text,
    "action-moral-judgment": number,
    "flipped-rot-judgment": text,
}
FOUNDATIONS = {
    "care-harm": "care",
    "fairness-cheating": "fairness",
    "loyalty-betrayal": "loyalty",
    "authority-subversion": "authority",
    "sanctity-degradation": "sanctity",
}


def foundations(v):
    """ "care-harm|loyalty-betrayal" as a list of names of `mft5`; empty text as none."""
    out = []
    for part in v.split("|") if v else []:
        if part not in FOUNDATIONS:
            raise Wrong(f"foundations such as {list(FOUNDATIONS)[0]!r}, joined by '|'", v)
        out.append(FOUNDATIONS[part])
    return out


def story(r, at):
    """The contra variant repeats an id with other norms, so the row number is part of the id."""
    action = r["moral_action"] if r["label"] else r["immoral_action"]
    other = r["immoral_action"] if r["label"] else r["moral_action"]
    if not action or other:
        key = "moral_action" if r["label"] else "immoral_action"
        raise Wrong(f"the action under {key!r} alone, for label {r['label']}", action, key)
    variant = at.parts[2]
    norm = r.get("norm") or f"{r['flipped-rot-judgment']} {r['rot-action']}"
    return at.record(
        f"{variant}/{at.stem}/{r['ID']}/{at.n}",
        context_id=r["ID"][:-1] if variant.startswith("original") else r["ID"],
        pole=1 if r["label"] else -1,
        label=str(r["label"]),
        prompt=norm,
        response=action,
        meta={"part": variant, "split": at.stem, "before": r.get("flipped-rot", "")},
    )


SOCIAL = {
    "area": text,
    "m": whole,
    "split": text,
    "rot-agree": maybe(real, None),
    "rot-categorization": free,
    "rot-moral-foundations": foundations,
    "rot-char-targeting": free,
    "rot-bad": one_of("0", "1"),
    "rot-judgment": text,
    "action": text,
    "action-agency": one_of("agency", "experience"),
    "action-moral-judgment": maybe(real, None),
    "action-agree": maybe(real, None),
    "action-legal": maybe(one_of("legal", "illegal", "tolerated")),
    "action-pressure": maybe(real, None),
    **dict.fromkeys(("action-char-involved", "action-hypothetical"), free),
    **dict.fromkeys(("situation", "situation-short-id", "rot", "rot-id"), text),
    **dict.fromkeys(("rot-worker-id", "breakdown-worker-id", "n-characters"), whole),
    "characters": text,
}


def rule(r, at):
    found = r["rot-moral-foundations"]
    judgement = r["action-moral-judgment"] or 0
    return at.record(
        f"{at.stem}/{r['rot-id']}",
        context_id=r["situation-short-id"],
        value=found[0] if len(found) == 1 else "",
        taxonomy="mft5" if len(found) == 1 else "",
        pole=(judgement > 0) - (judgement < 0),
        label="|".join(found),
        prompt=r["situation"],
        response=r["rot"],
        annotators=(Annotation(str(r["breakdown-worker-id"]), r["rot-judgment"], judgement),),
        meta={"part": "social-chem", "agree": r["rot-agree"], "area": r["area"]},
    )


def flipped(r, at):
    return at.record(
        f"flipped/{r['ID']}/{at.n}",
        context_id=r["ID"],
        prompt=r["norm"],
        response=r["flipped-norm"],
        meta={"part": "flipped_sample"},
    )


def _stories(variant, schema, ends=True):
    pattern = f"{BASE}{variant}/action+norm/norm_distance/*.jsonl"
    return Table(pattern, jsonl_rows(schema, ends=ends), story, id="ID")


def _social(stem, extra):
    rows = csv_rows({**SOCIAL, **extra})
    pattern = f"data/operator_mappings/{stem}_sc101.csv"
    return Table(pattern, rows, rule, id="rot-id", licence="CC BY-SA 4.0")


SAMPLE = {"": whole, "ID": text, "norm": text, "flipped-norm": text}

READER = Reader(
    "moral_stories",
    (
        _stories("original_ms", ORIGINAL, ends=False),
        _stories("contra_ms", VARIANT),
        _stories("anti_ms", VARIANT),
        _stories("optional_ms", VARIANT),
        _stories("anti_ms_llama", LLAMA),
        _stories("anti_ms_splits_only", PARTS),
        _social("obligatory", {}),
        _social("optional", {"stripped": text}),
        Table(f"{BASE}flipped_sample.csv", csv_rows(SAMPLE), flipped),
    ),
    licence="MIT",
    unread={"data/operator_mappings/optional*s.csv": "working lists of judgement words",
            "data/operator_mappings/optional_rated.csv": "working list of judgement words"},
)  # fmt: skip
