"""Downloads, against a server on this machine: resume, wrong checksum, 404, interruption."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from data_damage import whole, write
from data_samples import CASES

from valuelab import data
from valuelab.data import sources
from valuelab.data.readers import reader
from valuelab.data.sources import RemoteFile, Source, SourceError

CONTENT = bytes(range(256)) * 4_000  # about 1 MB


class Server:
    """Serves one file; `stop_after` bytes it hangs up, `ranges` says whether it can resume."""

    def __init__(self):
        self.content, self.stop_after, self.ranges, self.status = CONTENT, None, True, 200
        self.asked: list[str] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                owner.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def answer(self, request):
        wanted = request.headers.get("Range", "")
        self.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        body = self.content[start:]
        request.send_response(self.status if self.status != 200 else 206 if start else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.stop_after is not None:
            body, self.stop_after = body[: self.stop_after], None  # hangs up once
        request.wfile.write(body)


@pytest.fixture
def server(monkeypatch, tmp_path):
    s = Server()
    monkeypatch.setenv("VALUELAB_MIRROR", s.url)
    monkeypatch.setenv("VALUELAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VALUELAB_DATA", raising=False)
    file = RemoteFile(
        "a folder/toy.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "toy.bin"
    )
    toy = Source("toy", "Toy", "nobody", "MIT", "CP", "nobody/toy", "0" * 40, files=(file,))
    monkeypatch.setattr(sources, "registry", lambda: {"toy": toy})
    yield s
    s.http.shutdown()
    s.http.server_close()


def fetched() -> bytes:
    return (sources.fetch("toy", progress=False) / "a folder" / "toy.bin").read_bytes()


def test_a_download_arrives_whole_and_is_not_fetched_twice(server):
    assert fetched() == CONTENT and fetched() == CONTENT
    assert server.asked == [""]
    assert sources.verify("toy") == []


def test_an_interrupted_download_goes_on_where_it_stopped(server):
    server.stop_after = 300_000
    assert fetched() == CONTENT
    assert server.asked[0] == "" and server.asked[1].startswith("bytes=")
    assert int(server.asked[1][6:-1]) > 0


def test_what_arrived_before_the_program_ended_is_kept_for_the_next_run(server, monkeypatch):
    monkeypatch.setattr(sources, "_TRIES", 1)
    server.stop_after = 300_000
    with pytest.raises(SourceError, match="of 1,024,000 bytes arrived.*goes on where it stopped"):
        fetched()
    partial = next((sources.cache_folder() / "partial").iterdir())
    kept = partial.stat().st_size
    assert 0 < kept <= 300_000
    assert fetched() == CONTENT
    assert server.asked[-1] == f"bytes={kept}-" and not partial.exists()


def test_a_server_that_cannot_resume_is_asked_for_the_whole_file_again(server):
    server.stop_after, server.ranges = 300_000, False
    assert fetched() == CONTENT


def test_a_wrong_checksum_is_refused_and_leaves_no_file(server):
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(SourceError, match="refused, its SHA-256 is not"):
        fetched()
    assert not list((sources.cache_folder() / "toy").rglob("*.bin"))
    server.content = CONTENT
    assert fetched() == CONTENT  # nothing of the wrong file was kept


@pytest.mark.parametrize("content", [CONTENT + b"more", CONTENT * 2])
def test_a_file_longer_than_registered_is_refused(server, content):
    server.content = content
    with pytest.raises(SourceError, match="refused"):
        fetched()


def test_a_file_shorter_than_registered_is_refused(server):
    server.content = CONTENT[:1_000]
    with pytest.raises(SourceError, match="1,000 of 1,024,000 bytes|answers 416"):
        fetched()


@pytest.mark.parametrize("status", [404, 403, 500])
def test_an_answer_that_is_no_file_is_named_with_its_address(server, status):
    server.status = status
    with pytest.raises(SourceError, match=rf"{server.url}/toy/a%20folder/toy.bin.*{status}"):
        fetched()


def test_a_cached_file_that_was_changed_is_fetched_again(server):
    path = sources.fetch("toy", progress=False) / "a folder" / "toy.bin"
    path.write_bytes(b"changed")
    assert "has 7 bytes instead of" in sources.verify("toy")[0]
    assert fetched() == CONTENT
    path.write_bytes(CONTENT[:-1] + b"x")
    assert "SHA-256" in sources.verify("toy")[0]


def test_a_server_that_is_not_there_is_an_error_with_a_way_out(server, monkeypatch):
    monkeypatch.setenv("VALUELAB_MIRROR", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match="0 of 1,024,000 bytes arrived in 3 tries"):
        fetched()


# ------------------------------------------------------------------------------------ local copies


@pytest.fixture
def ealm(monkeypatch, tmp_path):
    """A registry that knows the made-up file, and a folder that holds it."""
    sample = CASES["ealm"].files[0]
    raw = whole(sample)
    file = RemoteFile(sample.path, len(raw), hashlib.sha256(raw).hexdigest(), sample.path)
    entry = Source("ealm", "Toy", "nobody", "none stated", "RT", "a/b", "0" * 40, files=(file,))
    monkeypatch.setattr(sources, "registry", lambda: {"ealm": entry})
    write(tmp_path / "ealm", CASES["ealm"].files)
    return tmp_path / "ealm" / sample.path


def test_a_local_copy_is_read_from_the_argument_or_the_environment(ealm, tmp_path, monkeypatch):
    by_argument = data.load("ealm", data=tmp_path)
    monkeypatch.setenv("VALUELAB_DATA", str(tmp_path))
    by_environment = data.load("ealm")
    assert by_argument["id"][:] == by_environment["id"][:] and len(by_argument) == 2


def test_a_local_copy_that_was_cut_off_is_refused_before_it_is_read(ealm, tmp_path):
    raw = ealm.read_bytes()
    ealm.write_bytes(raw[: raw.rindex(b"I hid")])  # ends with a newline: only the size tells
    assert len(list(data.read("ealm", tmp_path / "ealm"))) == 1
    with pytest.raises(SourceError, match=r"mp-ethics_train_revised.csv has \d+ bytes instead of"):
        data.load("ealm", data=tmp_path)


def test_missing_files_and_folders_are_named(ealm, tmp_path):
    ealm.unlink()
    with pytest.raises(SourceError, match="mp-ethics_train_revised.csv is missing"):
        data.load("ealm", data=tmp_path)
    with pytest.raises(SourceError, match="does not exist"):
        data.load("ealm", data=tmp_path / "nowhere")


# ---------------------------------------------------------------------------------------- registry


def test_every_entry_is_pinned_and_every_file_has_size_and_checksum():
    for name, s in sources.registry().items():
        assert s.title and s.citation and s.licence and reader(name).name == name
        assert set(s.use.split(", ")) <= set(sources.USES)
        assert len(s.commit) == 40 and "/" in s.repository
        for f in s.files:
            assert f.bytes > 0 and len(f.sha256) == 64 and not f.path.startswith("/")
            assert s.commit in s.url(f) and " " not in s.url(f)
        assert len({f.path for f in s.files}) == len(s.files)


def test_conva_is_read_from_an_own_copy_and_never_downloaded(tmp_path, monkeypatch):
    monkeypatch.delenv("VALUELAB_DATA", raising=False)
    with pytest.raises(SourceError, match="copy of your own.*No licence"):
        data.load("conva")
    write(tmp_path / "conva", CASES["conva"].files)
    assert len(data.load("conva", data=tmp_path)) == CASES["conva"].records


def test_wanted_datasets_say_why_they_are_not_here():
    assert len(sources.wanted()) >= 20
    assert all(w["title"] and len(w["reason"]) > 20 for w in sources.wanted().values())
    assert not set(sources.wanted()) & set(sources.registry())
    with pytest.raises(ValueError, match="wanted, but: .*NormBank.csv"):
        sources.source("normbank")
