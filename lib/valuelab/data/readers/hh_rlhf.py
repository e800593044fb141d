"""HH-RLHF, the harmless test pairs: two conversations, the first preferred."""

from ..formats import jsonl_rows
from ..kinds import Wrong, text
from ..table import Reader, Table

TURN = "\n\nAssistant:"


def conversation(v):
    """Text that opens with the human and holds a reply."""
    text(v)
    if not v.startswith("\n\nHuman:") or TURN not in v:
        raise Wrong("a conversation of '\\n\\nHuman:' and '\\n\\nAssistant:' turns", v)
    return v


def common(a, b):
    """Length of the turns that both conversations share, up to and with the last reply's opening.

    Four published pairs part before the last turn; there the prompt ends where they part.
    """
    at = a.rfind(TURN) + len(TURN)
    while at > 0 and a[:at] != b[:at]:
        before = a.rfind(TURN, 0, at - len(TURN))
        at = before + len(TURN) if before >= 0 else 0
    return at


def pair(r, at):
    cut = common(r["chosen"], r["rejected"])
    return at.record(
        f"{at.parts[0]}/{at.stem}/{at.n}",
        context_id=f"{at.parts[0]}/{at.stem}/{at.n}",
        label="chosen first",
        prompt=r["chosen"][:cut],
        choices=(r["chosen"][cut:], r["rejected"][cut:]),
        response=r["chosen"][cut:],
    )


READER = Reader(
    "hh_rlhf",
    (
        Table(
            "*/*.jsonl.gz",
            jsonl_rows({"chosen": conversation, "rejected": conversation}),
            pair,
        ),
    ),
    licence="MIT",
)
