import os
import re

import pytest

from valuelab import plots
from valuelab.evaluate import files, html
from valuelab.evaluate.files import ReportError


def test_a_written_file_is_whole_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "report.html"
    files.write_whole(path, "old")
    files.write_whole(path, "né")
    assert path.read_text(encoding="utf-8") == "né" and os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interruption_or_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch, error):
    path = tmp_path / "report.html"
    files.write_whole(path, "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(
        error if isinstance(error, OSError) else error()))  # fmt: skip
    with pytest.raises((KeyboardInterrupt, ReportError)) as found:
        files.write_whole(path, "new")
    if isinstance(error, OSError):
        assert "No space left" in str(found.value) and "--out" in str(found.value)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["report.html"]


def test_places_that_cannot_be_written_are_found_out_before_the_work(tmp_path):
    with pytest.raises(ReportError, match="is a folder"):
        files.check_writable(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="--out"):
        files.check_writable(tmp_path / "file" / "report.html")
    assert files.check_writable(tmp_path / "new" / "report.html").parent.is_dir()


def small_page():
    fig, ax = plots.figure()
    ax.plot([0, 1], [0, 1])
    inside = [
        html.paragraph("1 < 2 & so on"),
        html.table(["name", "x"], [["a", "1.5"], ["<b>", "−2"]], "A table"),
        html.figure(fig, 'alt "quoted"', "a caption"),
    ]
    return html.page("Title", html.paragraph("lead"), {"First": inside, "Second part": ["x"]})


def test_a_page_is_well_formed_needs_no_other_file_and_describes_its_figures(parsed):
    seen = parsed(small_page())
    names = [tag for tag, _ in seen]
    assert names.count("h1") == 1 and "script" not in names and "link" not in names
    images = [a for tag, a in seen if tag == "img"]
    assert images and all(a["alt"] and a["src"].startswith("data:image/png;base64,") for a in images)
    assert ("html", {"lang": "en"}) in seen
    assert any(a.get("name") == "viewport" for tag, a in seen if tag == "meta")
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", small_page())
    targets = {a["id"] for _, a in seen if "id" in a}
    assert {a["href"][1:] for tag, a in seen if tag == "a"} <= targets
    assert "prefers-color-scheme: dark" in small_page()


def test_text_is_escaped_and_numbers_stand_right():
    page = small_page()
    assert "1 &lt; 2 &amp; so on" in page and "<b>" not in page
    assert 'class="number">1.5' in page
