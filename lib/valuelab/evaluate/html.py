"""A self-contained page: headings, text, tables and figures, without scripts or outside links.

Readable on a phone and in dark mode, and by a screen reader: one h1, headings in order, table
headers with scope, an alternative text and a visible caption for every figure. All text passed in
is escaped here; `Markup` marks what is HTML already.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1f; --paper: #ffffff; --soft: #5a5a66;
  --line: #d5d5dd; --card: #f5f5f8; --good: #005a46; --bad: #8f2d00; --link: #0b4fa8; }
@media (prefers-color-scheme: dark) { :root { --ink: #ececf1; --paper: #17171b; --soft: #b0b0bc;
  --line: #3b3b45; --card: #222229; --good: #6fd3b4; --bad: #ffb08a; --link: #8fbfff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1rem 4rem; max-width: 50rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 1rem 0 .3rem; }
h2 { font-size: 1.25rem; margin: 2.4rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
a { color: var(--link); }
.soft, figcaption, caption { color: var(--soft); font-size: .92rem; }
caption { text-align: left; padding-bottom: .4rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
.scroll:focus { outline: 2px solid var(--link); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; font-size: .92rem; }
td.number, th.number { text-align: right; white-space: nowrap; }
figure { margin: 1rem 0; }
figure img { max-width: 100%; height: auto; background: #fff; border-radius: .4rem;
  border: 1px solid var(--line); }
.verdict { background: var(--card); border-left: .3rem solid var(--soft); padding: .7rem 1rem;
  margin: .8rem 0; border-radius: .3rem; }
.verdict.yes { border-color: var(--good); } .verdict.no { border-color: var(--bad); }
blockquote { margin: .5rem 0; padding: .4rem .9rem; background: var(--card);
  border-radius: .3rem; }
nav ul { padding-left: 1.1rem; } li { margin: .2rem 0; }
@media print { body { max-width: none; } h2 { break-after: avoid; } figure { break-inside: avoid; } }
"""


class Markup(str):
    """Text that is HTML already and must not be escaped again."""


def safe(text: Any) -> Markup:
    """Text as HTML; `Markup` passes through."""
    return text if isinstance(text, Markup) else Markup(html.escape(str(text)))


def join(parts: Sequence[Any]) -> Markup:
    return Markup("\n".join(safe(part) for part in parts if part))


def tag(name: str, *inside: Any, **attributes: Any) -> Markup:
    """One element; `kind` becomes the class, underscores become hyphens."""
    named = {"class" if k == "kind" else k.replace("_", "-"): v for k, v in attributes.items()}
    written = "".join(f' {k}="{html.escape(str(v))}"' for k, v in named.items() if v is not None)
    return Markup(f"<{name}{written}>{''.join(safe(x) for x in inside)}</{name}>")


def paragraph(*inside: Any, kind: str | None = None) -> Markup:
    return tag("p", *inside, kind=kind)


def bullets(items: Sequence[Any]) -> Markup:
    return tag("ul", *(tag("li", item) for item in items))


def table(header: Sequence[Any], rows: Sequence[Sequence[Any]], caption: str) -> Markup:
    """A table whose first column names its row; cells that are numbers by look stand right."""
    numeric = [
        k > 0 and bool(rows) and all(looks_numeric(row[k]) for row in rows)
        for k in range(len(header))
    ]
    kinds = ["number" if x else None for x in numeric]
    head = tag("tr", *(tag("th", h, scope="col", kind=k) for h, k in zip(header, kinds, strict=True)))
    body = [
        tag("tr", tag("th", row[0], scope="row"),
            *(tag("td", c, kind=k) for c, k in zip(row[1:], kinds[1:], strict=True)))
        for row in rows
    ]  # fmt: skip
    whole = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *body))
    # a region that scrolls must be reachable from the keyboard, and then needs a name
    return tag("div", whole, kind="scroll", tabindex="0", role="region", aria_label=caption)


def looks_numeric(cell: Any) -> bool:
    text = str(cell).strip()
    return not text or text in "–-" or text[0] in "+-−.0123456789"


def figure(fig: Any, alt: str, caption: str, dpi: int = 160) -> Markup:
    """A matplotlib figure as an inline PNG with an alternative text and a caption."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=dpi, bbox_inches="tight", facecolor="white")
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    image = Markup(f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">')
    return tag("figure", image, tag("figcaption", caption))


def section(title: str, *inside: Any, level: int = 2) -> Markup:
    return join([tag(f"h{level}", title, id=anchor(title)), *inside])


def anchor(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())


def page(title: str, lead: Any, sections: dict[str, Sequence[Any]]) -> str:
    """A whole document from {heading: contents}, with a table of contents."""
    contents = tag(
        "nav",
        tag("ul", *(tag("li", tag("a", name, href=f"#{anchor(name)}")) for name in sections)),
        aria_label="Contents",
    )
    body = [section(name, *inside) for name, inside in sections.items()]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{join([tag('h1', title), lead, contents, *body])}\n</main>\n</body>\n</html>\n"
    )
