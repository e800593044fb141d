"""A static site to read the course without running it: `python -m valuelab.course.site [--out build/site]`.

A page for each executed lesson, the map, the glossary, the page for teachers and the instructor's notes, joined by
an index. Building fetches nothing. In the browser, mathematics is set by MathJax, which comes from its network; without
one the formulas stand there as TeX. There is no search over all pages.
"""

from __future__ import annotations

import argparse
import html
import re
import shutil
import sys
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from posixpath import normpath
from urllib.parse import unquote, urlsplit

import nbformat

from .build import on_disk, root, sources
from .lesson import Lesson, LessonError, read

TEXTS = {
    "docs/MAP.md": "Map",
    "docs/GLOSSARY.md": "Glossary",
    "docs/TEACHING.md": "Teaching",
    "solutions/INSTRUCTOR.md": "Notes for instructors",
}
NO_TEXT = ("", "No description has been provided for this image")  # the second is what nbconvert puts in
MATHJAX = "https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"
STYLE = """\
:root { color-scheme: light dark; --page: #fff; --text: #1b1b1b; --soft: #f4f4f2; --line: #d5d5d0; --link: #0b57a4; }
@media (prefers-color-scheme: dark) {
  :root { --page: #161616; --text: #e8e8e6; --soft: #222; --line: #444; --link: #8ab8f0; }
}
body { margin: 0 auto; max-width: 52rem; padding: 0 1rem 4rem; background: var(--page); color: var(--text);
  font: 1.05rem/1.6 system-ui, sans-serif; overflow-wrap: break-word; }
a { color: var(--link); }
a.anchor-link { text-decoration: none; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; padding: .8rem 0; border-bottom: 1px solid var(--line); }
pre { background: var(--soft); padding: .7rem; overflow-x: auto; font-size: .88rem; line-height: 1.45; }
.output_area pre, .output pre { border-left: 3px solid var(--line); }
.prompt, .input_prompt, .output_prompt { display: none; }
img { max-width: 100%; height: auto; background: #fff; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: left; }
"""
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="stylesheet" href="style.css">
<script>window.MathJax = {{tex: {{inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]]}}}};</script>
<script async src="{mathjax}"></script>
</head>
<body>
<nav aria-label="Course">{navigation}</nav>
<main>
{body}
</main>
</body>
</html>
"""


def build(base: Path, out: Path, wanted: Iterable[str] = ()) -> list[Path]:
    """Write the site and return its pages.

    Args:
        base: the course's folder.
        out: folder of the site; what an earlier build left there is removed.
        wanted: beginnings of lesson names; all lessons if none is given.

    Raises:
        LessonError: a lesson has no executed notebook, or a page holds a dead link or a figure without a text.
    """
    if out.exists():
        if any(out.iterdir()) and not (out / "style.css").is_file():
            raise LessonError(f"site: {out} holds something else; name an empty folder with --out.")
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / "style.css").write_text(STYLE, encoding="utf-8")
    lessons = [read(path) for path in sources(base, wanted)]
    pages = {f"solutions/{lesson.slug}.ipynb": f"{lesson.slug}.html" for lesson in lessons}
    pages |= {f"notebooks/{lesson.slug}.ipynb": f"{lesson.slug}.html" for lesson in lessons}
    pages |= {name: f"{PurePosixPath(name).stem.lower()}.html" for name in TEXTS if (base / name).is_file()}
    for k, lesson in enumerate(lessons):
        near = [("index.html", "Contents")]
        near += [(f"{x.slug}.html", f"{arrow} {x.title}") for arrow, x in _neighbours(lessons, k)]
        body = _relinked(_lesson_body(base, lesson), "solutions", pages, base, out)
        _write(out / f"{lesson.slug}.html", lesson.title, near, body)
    for name, title in TEXTS.items():
        if name in pages:
            text = (base / name).read_text(encoding="utf-8")
            body = _relinked(_markdown(text), str(PurePosixPath(name).parent), pages, base, out)
            _write(out / pages[name], title, [("index.html", "Contents")], body)
    _write(out / "index.html", "Value alignment of language models, built by hand", [], _index(lessons, pages))
    if faults := check(out):
        raise LessonError("site: " + "; ".join(faults))
    return sorted(out.glob("*.html"))


def _neighbours(lessons: list[Lesson], k: int) -> list[tuple[str, Lesson]]:
    return [(arrow, lessons[i]) for arrow, i in (("←", k - 1), ("→", k + 1)) if 0 <= i < len(lessons)]


def _lesson_body(base: Path, lesson: Lesson) -> str:
    from nbconvert import HTMLExporter

    nb = on_disk(base / "solutions" / f"{lesson.slug}.ipynb")
    if nb is None:
        raise LessonError(f"site: {lesson.slug} has no executed notebook; run `make build` first.")
    nb.cells = [c for c in nb.cells if "widget" not in c.metadata.get("tags", [])]  # a slider needs a kernel
    return HTMLExporter(template_name="basic").from_notebook_node(nbformat.from_dict(nb))[0]


def _markdown(text: str) -> str:
    from nbconvert.filters import markdown2html

    return markdown2html(text)


def _index(lessons: list[Lesson], pages: dict[str, str]) -> str:
    rows = "\n".join(
        f'<li><a href="{x.slug}.html">{html.escape(x.title)}</a>, {x.minutes} minutes</li>' for x in lessons
    )
    texts = "\n".join(f'<li><a href="{pages[n]}">{title}</a></li>' for n, title in TEXTS.items() if n in pages)
    return (
        "<h1>Value alignment of language models, built by hand</h1>\n"
        "<p>The lessons as they run from start to end, exercises solved. To work, open the notebooks.</p>\n"
        f"<h2>Lessons</h2>\n<ul>\n{rows}\n</ul>\n<h2>Beside them</h2>\n<ul>\n{texts}\n</ul>\n"
        "<p>There is no search over all pages. Formulas are drawn with a network, and shown as TeX without.</p>"
    )


def _write(path: Path, title: str, near: list[tuple[str, str]], body: str) -> None:
    navigation = " ".join(f'<a href="{href}">{html.escape(text)}</a>' for href, text in near)
    page = PAGE.format(title=html.escape(title), mathjax=MATHJAX, navigation=navigation, body=body)
    path.write_text(page, encoding="utf-8")


_LINK = re.compile(r'<a\b[^>]*?\bhref="([^"]+)"[^>]*>(.*?)</a>', re.S)


def _relinked(body: str, folder: str, pages: dict[str, str], base: Path, out: Path) -> str:
    """Links between files of the repository as links between pages; those that have no page become plain text.

    Pictures that lie in the repository are copied beside the pages.
    """

    def link(match: re.Match) -> str:
        target = urlsplit(html.unescape(match[1]))
        if target.scheme or target.netloc or not target.path:
            return match[0]
        page = pages.get(normpath(f"{folder}/{unquote(target.path)}"))
        if page is None:
            return match[2]
        return match[0].replace(match[1], page + (f"#{target.fragment}" if target.fragment else ""), 1)

    def picture(match: re.Match) -> str:
        target = urlsplit(html.unescape(match[2]))
        if target.scheme or target.netloc:
            return match[0]
        shutil.copy(base / normpath(f"{folder}/{unquote(target.path)}"), out)
        return f'{match[1]}"{PurePosixPath(target.path).name}"'

    return re.sub(r'(<img\b[^>]*?\bsrc=)"([^"]+)"', picture, _LINK.sub(link, body))


class _Reader(HTMLParser):
    """Ids, links and pictures of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.unnamed = 0

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids |= {found[key] for key in ("id", "name") if found.get(key)}
        self.links += [found[key] for key in ("href", "src") if found.get(key)]
        self.unnamed += tag == "img" and (found.get("alt") or "").strip() in NO_TEXT


def check(out: Path) -> list[str]:
    """Dead links (file or anchor) and figures without a text, one line each. Other sites are not asked."""
    pages = {}
    for path in sorted(out.glob("*.html")):
        pages[path.name] = _Reader()
        pages[path.name].feed(path.read_text(encoding="utf-8"))
    faults = []
    for name, page in pages.items():
        if page.unnamed:
            faults.append(f"{name}: {page.unnamed} figures without a text; draw them with show(figure, caption)")
        for link in page.links:
            target = urlsplit(link)
            if target.scheme or target.netloc:
                continue
            file = unquote(target.path) or name
            anchors = pages[file].ids if file in pages else set()
            named = {target.fragment, unquote(target.fragment)}  # browsers try an anchor as written, then decoded
            if not (out / file).is_file() or (target.fragment and not named & anchors):
                faults.append(f"{name}: nothing at {link}")
    return faults


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=None, help="folder of the site (default: build/site)")
    chosen = parser.parse_args(arguments)
    try:
        base = root()
        out = chosen.out or base / "build" / "site"
        pages = build(base, out)
    except LessonError as error:
        sys.exit(str(error))
    print(f"{len(pages)} pages, no dead link; open {out / 'index.html'}")


if __name__ == "__main__":
    main()
