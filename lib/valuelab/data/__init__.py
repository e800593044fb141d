"""Value data: one record type, a reader for each public dataset, downloads with checksums.

    >>> import valuelab.data
    >>> valuelab.data.names()                      # what there is
    >>> d = valuelab.data.load("ealm")             # downloads once, then reads the cache
    >>> d[0]["prompt"], d[0]["annotators"]

`VALUELAB_DATA=<folder>`, or `data=<folder>`, reads `<folder>/<name>/` instead of downloading.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import datasets

from . import own
from .readers import NAMES, reader
from .record import FEATURES, Annotation, DataError, Record, to_dataset

__all__ = [
    "FEATURES",
    "Annotation",
    "DataError",
    "Record",
    "load",
    "names",
    "read",
    "to_dataset",
]


def names() -> tuple[str, ...]:
    """Names of the datasets that have a reader: the public ones, then the course's own."""
    return (*NAMES, *own.READERS)


def read(
    name: str,
    path: str | Path,
    *,
    lenient: bool = False,
    skipped: list[DataError] | None = None,
) -> Iterator[Record]:
    """Records of one dataset, streamed: memory stays flat however long the file is.

    Args:
        name: one of `names()`.
        path: the dataset's folder, laid out as at the source, or one of its files.
        lenient: pass over wrong rows and print how many and which.
        skipped: a list that receives the errors of the rows passed over.

    Raises:
        DataError: a row or file is wrong; names file, line, column and the text found.
        FileNotFoundError: nothing there that this reader knows.
        ValueError: unknown name.
    """
    return reader(name).read(path, lenient=lenient, skipped=skipped)


def load(name: str, *, data: str | Path | None = None, lenient: bool = False) -> datasets.Dataset:
    """One dataset as a `datasets.Dataset` with the columns of `Record`.

    Args:
        name: one of `names()`.
        data: folder that holds `<name>/`; default: $VALUELAB_DATA, or else the download cache.
            The course's own data are read from where they are installed.
        lenient: pass over wrong rows and print how many and which.

    Raises:
        DataError: a row or file is wrong; names file, line, column and the text found.
        SourceError: the files are missing, cannot be fetched, or fail their checksum.
        ValueError: unknown name.
    """
    from .sources import folder  # `read` needs no registry, so it does not wait for one

    return to_dataset(read(name, folder(name, data=data), lenient=lenient))
