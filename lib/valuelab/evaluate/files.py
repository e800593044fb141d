"""Write a file whole or not at all, and find out before the work whether it can be written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


class ReportError(Exception):
    """The report cannot be made. The message is for the user: what is wrong and how to mend it."""


def check_writable(path: str | Path) -> Path:
    """The path, once its folder exists and a file can be made there.

    Raises:
        ReportError: the path is a folder, or its folder cannot be made or written to.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise ReportError(f"{path} is a folder; name a file in it, e.g. {path / 'report.html'}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ReportError(
            f"Cannot write {path} ({error.strerror or error}); choose another place with --out."
        ) from error
    return path


def write_whole(path: str | Path, text: str) -> None:
    """Write UTF-8 text so that readers see the old file or the new one, never a part.

    The text goes to a temporary file in the same folder, which then takes the path's place. An
    interruption or a full disk leaves the old file as it was and no temporary file behind.

    Raises:
        ReportError: the text cannot be written.
    """
    path, temporary = Path(path), None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~current_umask())  # mkstemp makes files for the owner alone
        os.replace(temporary, path)
    except OSError as error:
        raise ReportError(
            f"Cannot write {path} ({error.strerror or error}); free some space, or choose another "
            "place with --out."
        ) from error
    finally:
        if temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
