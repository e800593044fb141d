"""NormDial: dialogues in which a social norm of the US or of China is kept or broken."""

from ..formats import csv_rows
from ..kinds import Wrong, free, one_of, text, whole
from ..table import Reader, Table

POLES = one_of({"adherence": 1, "violation": -1})
US = {"": whole, "American_Norm": text, "American_Situation": text, "Labeled_Dialogue": text}
# one published row has the dialogue's cell empty, so it may be
CN = {
    "": whole,
    "Norm": text,
    "Situation": text,
    "cn_Norm": text,
    "cn_Situation": text,
    "Labeled_Dialogue": free,
}


def dialogue(norm, situation, language):
    def build(r, at):
        culture, kept, category = at.parts[-3:]
        try:
            pole = POLES(kept)
        except Wrong as e:
            raise Wrong(f"a folder named {e.expected}", kept) from None
        return at.record(
            f"{culture}/{kept}/{category}/{at.n}",
            context_id=f"{culture}/{category}/{r[situation]}",
            value=category,
            taxonomy="normdial10",
            pole=pole,
            label=kept,
            prompt=r[situation],
            response=r["Labeled_Dialogue"],
            language=language,
            meta={"norm": r[norm], "culture": culture},
        )

    return build


def _table(culture, schema, build):
    return Table(
        f"NormDial_clean_dataset/{culture}/*/*/cleaned_dialogue.csv", csv_rows(schema), build
    )


READER = Reader(
    "normdial",
    (
        _table("American", US, dialogue("American_Norm", "American_Situation", "en")),
        _table("Chinese", CN, dialogue("cn_Norm", "cn_Situation", "zh")),
    ),
    unread={"NormDial_clean_dataset/*/*/*/labeled_dialogue*": "the same before cleaning"},
)
