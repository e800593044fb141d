"""The registry of public datasets, and how their files get here: pinned, resumed, verified.

`datasets/sources.toml` names for each dataset its repository and commit and, for each file, size
and SHA-256. A file is fetched from the repository's raw address at that commit, so it cannot change
under us; a file whose checksum differs is refused.

Environment:
    VALUELAB_DATA: folder with one folder per dataset; read instead of downloading.
    VALUELAB_CACHE: where downloads are kept (default: the user's cache folder).
    VALUELAB_MIRROR: address that serves `<name>/<path>`, e.g. a lab's own server.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import quote

import pooch
import requests
from tqdm.auto import tqdm

from . import own

_TRIES = 3
_BLOCK = 1 << 16


class SourceError(RuntimeError):
    """Files are missing, cannot be fetched, or are not the ones registered."""


@dataclass(frozen=True)
class RemoteFile:
    """A registered file: `path` in the dataset's folder, `origin` in the repository."""

    path: str
    bytes: int
    sha256: str
    origin: str


@dataclass(frozen=True)
class Source:
    """An entry of the registry.

    Attributes:
        name, title, citation, licence, use: facts; `use` is explained by `USES`.
        repository, commit: GitHub "owner/name" and full commit; or
        hub, revision: Hugging Face dataset id and revision.
        records: how many records the reader makes of the registered files; 0 where unknown.
        files: what reading takes. Empty for a dataset that is only read from a user's own copy.
        note: what a user has to know, e.g. what the registered files leave out.
    """

    name: str
    title: str
    citation: str
    licence: str
    use: str
    repository: str = ""
    commit: str = ""
    hub: str = ""
    revision: str = ""
    records: int = 0
    note: str = ""
    files: tuple[RemoteFile, ...] = field(default=(), repr=False)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(f.bytes for f in self.files)

    def url(self, file: RemoteFile) -> str:
        """Where `file` is fetched from."""
        if mirror := os.environ.get("VALUELAB_MIRROR"):
            return f"{mirror.rstrip('/')}/{self.name}/{quote(file.path)}"
        if self.repository:
            base = f"https://raw.githubusercontent.com/{self.repository}/{self.commit}"
        else:
            base = f"https://huggingface.co/datasets/{self.hub}/resolve/{self.revision}"
        return f"{base}/{quote(file.origin)}"


USES = {
    "CP": "contrast pairs",
    "SI": "survey items",
    "DA": "dilemmas with actions",
    "RT": "rules of thumb or moral labels",
    "PP": "preference pairs",
    "AP": "adversarial prompts",
    "TX": "value-labelled text",
    "CAP": "capability check",
}


def listed() -> dict[str, dict]:
    """sources.toml as it stands.

    Raises:
        SourceError: it is not there.
    """
    path = own.FOLDER / "sources.toml"
    if not path.is_file():
        places = " nor in ".join(map(str, own.PLACES))
        raise SourceError(
            f"sources.toml is neither in {places}. Install the package again, or run from a checkout."
        )
    return tomllib.loads(path.read_text(encoding="utf-8"))


@cache
def registry() -> Mapping[str, Source]:
    """All registered datasets by name."""
    entries = listed()
    entries.pop("wanted", None)
    return {name: _source(name, entry) for name, entry in entries.items()}


@cache
def wanted() -> Mapping[str, Mapping[str, str]]:
    """Datasets of the field that have no reader yet: title, address and the reason."""
    return listed().get("wanted", {})


def _source(name: str, entry: dict) -> Source:
    files = entry.pop("files", {})
    if isinstance(
        files, str
    ):  # long lists lie in a file of their own, one "sha256 bytes path" a line
        lines = (own.FOLDER / "files" / files).read_text(encoding="utf-8").splitlines()
        parts = [line.split(" ", 2) for line in lines]
        found = [RemoteFile(p, int(size), digest, p) for digest, size, p in parts]
    else:
        found = []
        for path, facts in files.items():
            size, digest, *origin = facts.split(" ", 2)
            found.append(RemoteFile(path, int(size), digest, origin[0] if origin else path))
    return Source(name=name, files=tuple(found), **entry)


def source(name: str) -> Source:
    """One entry. ValueError naming the choices where there is none."""
    if name not in registry():
        hint = f" It is wanted, but: {wanted()[name]['reason']}" if name in wanted() else ""
        choices = ", ".join(registry())
        raise ValueError(f"no dataset {name!r} in the registry.{hint} Choose from: {choices}.")
    return registry()[name]


# ------------------------------------------------------------------------------------ local copies


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("VALUELAB_CACHE") or pooch.os_cache("valuelab")) / "data"


def local_folder(name: str, data: str | Path | None = None) -> Path | None:
    """`<data>/<name>` or `$VALUELAB_DATA/<name>`; None where neither is given."""
    base = data or os.environ.get("VALUELAB_DATA")
    return Path(base).expanduser() / name if base else None


def folder(name: str, *, data: str | Path | None = None, progress: bool = True) -> Path:
    """The folder of a dataset, complete: a local copy where one is named, or else the download.

    Raises:
        SourceError: a registered file is missing or has another size, or cannot be fetched.
    """
    if name in own.READERS:
        return own.home(name)
    entry = source(name)
    root = local_folder(name, data)
    if root is None:
        return fetch(name, progress=progress)
    if not root.is_dir():
        raise SourceError(
            f"{root} does not exist. The data folder holds one folder per dataset, laid out as at "
            f"its source. Leave --data and VALUELAB_DATA out to download, or add {name}/."
        )
    faults = [f for f in (_size_fault(root, file) for file in entry.files) if f]
    if faults:
        more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise SourceError(
            f"{faults[0]}{more}. See valuelab data check {name}. For another version on purpose, "
            f"use valuelab.data.read({name!r}, {str(root)!r})."
        )
    return root


def _size_fault(root: Path, file: RemoteFile) -> str:
    path = root / file.path
    if not path.is_file():
        return f"{path} is missing"
    found = path.stat().st_size
    return "" if found == file.bytes else f"{path} has {found:,} bytes instead of {file.bytes:,}"


def verify(name: str, *, data: str | Path | None = None) -> list[str]:
    """What is wrong with the files at hand, checksums included, one line a file; else empty."""
    entry = source(name)
    root = local_folder(name, data) or cache_folder() / name
    faults = []
    for file in entry.files:
        fault = _size_fault(root, file)
        if not fault:
            found = sha256(root / file.path)
            if found != file.sha256:
                fault = f"{root / file.path} has SHA-256 {found}, registered is {file.sha256}"
        if fault:
            faults.append(fault)
    return faults


def sha256(path: Path) -> str:
    """Checksum of a file, read in blocks."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


# --------------------------------------------------------------------------------------- downloads


def fetch(name: str, *, progress: bool = True) -> Path:
    """Download what is missing of a dataset into the cache, verify it, and return its folder.

    A download that was interrupted goes on where it stopped. Files that are there already are
    checked against their checksum and not fetched again.

    Raises:
        SourceError: an address does not answer, a file ends too early, or a checksum is wrong.
    """
    entry = source(name)
    if not entry.files:
        raise SourceError(f"{name} is only read from a copy of your own. {entry.note}")
    root = cache_folder() / name
    with tqdm(total=entry.size, desc=name, unit="B", unit_scale=True, disable=not progress) as bar:
        for file in entry.files:
            start = bar.n
            _fetch_one(entry, file, root, bar)
            bar.update(start + file.bytes - bar.n)  # files that were here already count too
    return root


def _fetch_one(entry: Source, file: RemoteFile, root: Path, bar: tqdm) -> None:
    target = root / file.path
    partial = cache_folder() / "partial" / f"{file.sha256}.part"
    url = entry.url(file)
    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{file.sha256}",
            fname=target.name,
            path=target.parent,
            downloader=_Resuming(partial, file.bytes, bar),
        )
    except ValueError as e:  # pooch's word for a wrong checksum; it keeps no file then
        raise SourceError(
            f"{url}: refused, its SHA-256 is not {file.sha256}. The file was changed or damaged on "
            "the way. Try again; if it stays so, report it: the registry pins this commit."
        ) from e


class _Resuming:
    """A downloader for pooch that keeps what has arrived and asks only for the rest.

    Args:
        partial: where the bytes are kept until all are there.
        size: registered size of the file, in bytes.
        bar: progress bar, moved by the bytes that arrive.
    """

    def __init__(self, partial: Path, size: int, bar: tqdm):
        self.partial, self.size, self.bar = partial, size, bar

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        self.partial.parent.mkdir(parents=True, exist_ok=True)
        reason = "it ended too early"
        for _ in range(_TRIES):
            if self._have() >= self.size:
                break
            try:
                self._rest(url)
            except (requests.ConnectionError, requests.Timeout) as e:
                reason = str(e)
            except requests.exceptions.ChunkedEncodingError as e:
                reason = str(e)
            except requests.HTTPError as e:
                raise SourceError(
                    f"{url}: the server answers {e.response.status_code} {e.response.reason}. "
                    "Check your network, or name a local copy with VALUELAB_DATA."
                ) from e
        if self._have() < self.size:
            raise SourceError(
                f"{url}: {self._have():,} of {self.size:,} bytes arrived in {_TRIES} tries "
                f"({reason}). Run the command again: it goes on where it stopped."
            )
        shutil.move(self.partial, output_file)

    def _have(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _rest(self, url: str) -> None:
        have = self._have()
        headers = {"Accept-Encoding": "identity"}  # ranges count bytes of the file as it is
        if have:
            headers["Range"] = f"bytes={have}-"
        with requests.get(url, headers=headers, stream=True, timeout=30) as answer:
            if answer.status_code == 416:  # what we kept is no beginning of this file
                self.partial.unlink()
                return
            answer.raise_for_status()
            resumed = answer.status_code == 206
            if resumed:
                self.bar.update(have)
            with open(self.partial, "ab" if resumed else "wb") as f:
                for block in answer.iter_content(_BLOCK):
                    f.write(block)
                    self.bar.update(len(block))
                    if f.tell() > self.size:  # longer than registered: the checksum will say so
                        return
