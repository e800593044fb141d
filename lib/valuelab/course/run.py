"""Runs a notebook so that the same source gives the same bytes, and says plainly what failed."""

from __future__ import annotations

import logging
import os
import re
import time
from pathlib import Path

import nbformat

from .lesson import LessonError

CELL_TIMEOUT = 300  # seconds; a lesson's whole budget is 60
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
NOT_MET = ("DOES NOT HOLD", "✗ ", "○ ")  # how claim() and check() begin when something is wrong


def environment(own_model: bool = False) -> dict[str, str]:
    """What a lesson's kernel sees: this library first, one thread (sums in one order), no network, no display.

    Args:
        own_model: keep VALUELAB_MODEL, which may have to be downloaded; otherwise the embedded model is used.
    """
    env = {**os.environ, "VALUELAB_PROGRESS": os.devnull, "MPLBACKEND": "Agg", "TOKENIZERS_PARALLELISM": "false"}
    env |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    library = str(Path(__file__).resolve().parents[2])  # absolute: the kernel starts in another folder
    env["PYTHONPATH"] = os.pathsep.join([library, *filter(None, [env.get("PYTHONPATH")])])
    if not (own_model and env.get("VALUELAB_MODEL")):
        env.pop("VALUELAB_MODEL", None)
        env["HF_HUB_OFFLINE"] = "1"
    return env


def execute(nb: nbformat.NotebookNode, folder: Path, label: str = "", own_model: bool = False) -> float:
    """Run a notebook in place, drop what differs from run to run, and return the seconds it took.

    Raises:
        LessonError: a cell failed; the message holds its number, its error and its first line.
        KeyboardInterrupt: Ctrl-C; the kernel has ended.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    began = time.time()
    client = NotebookClient(nb, timeout=CELL_TIMEOUT, record_timing=False, kernel_name="python3",
                            resources={"metadata": {"path": str(folder)}},
                            extra_arguments=["--log-level=CRITICAL"])  # fmt: skip
    try:
        client.execute(env=environment(own_model))
    except Exception as error:
        if getattr(client, "_async_cleanup_kernel_future", None):
            # nbclient took Ctrl-C itself and ended the kernel; what its other tasks then say is of no use.
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            raise KeyboardInterrupt from None
        if not isinstance(error, CellControlSignal | DeadKernelError):
            raise
        raise LessonError(f"{label}, {_failed_cell(nb, error)}") from error
    _tidy(nb)
    return time.time() - began


def _failed_cell(nb, error) -> str:
    """ "cell 12: ValueError: text (in `first line`)", without the kernel's coloured traceback."""
    for i, cell in enumerate(nb.cells, 1):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                first = cell.source.strip().splitlines()[0]
                return f"cell {i}: {output.ename}: {output.evalue} (in the cell that begins `{first}`)"
    return f"no cell reported back: {str(error).strip().splitlines()[0]}"


def _tidy(nb) -> None:
    """Keep only what the same source gives again: no times, no widget ids, streams in one piece."""
    nb.metadata.pop("widgets", None)
    nb.metadata["language_info"] = {"name": "python"}
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [] if "widget" in cell.metadata.get("tags", []) else _joined(cell.outputs)
        for output in cell.outputs:
            output.get("metadata", {}).pop("execution", None)
            output.get("data", {}).pop(WIDGET_VIEW, None)


def _joined(outputs: list) -> list:
    """Neighbouring pieces of one stream merged: where the kernel cuts them is chance."""
    merged = []
    for output in outputs:
        if merged and output.output_type == "stream" == merged[-1].output_type and output.name == merged[-1].name:
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def printed(nb, base: Path) -> list[str]:
    """What a notebook says in text that every machine must say alike: streams and plain results.

    Addresses, paths and versions are replaced as in the notebook tests (tests/nbval_sanitize.cfg).
    """
    out = []
    for cell in nb.cells:
        if cell.cell_type == "code" and "nbval-ignore-output" not in cell.metadata.get("tags", []):
            out += [str(o.get("text") or o.get("data", {}).get("text/plain")) for o in cell.outputs]
    config = base / "tests" / "nbval_sanitize.cfg"
    text = config.read_text(encoding="utf-8") if config.is_file() else ""
    for pattern, replacement in re.findall(r"^regex: (.*)\nreplace: (.*)$", text, re.M):
        out = [re.sub(pattern, replacement, line) for line in out]
    return out


def not_met(nb) -> list[str]:
    """Lines in which a solved lesson admits a claim that does not hold, an exercise that is not right, or a warning.

    A cell tagged "may-fail" is left out: there the lesson shows such a line on purpose.
    """
    found = []
    for cell in nb.cells:
        if "may-fail" in cell.metadata.get("tags", []):
            continue
        for output in cell.get("outputs", []):
            lines = output.text.splitlines() if output.output_type == "stream" else []
            if lines and output.name == "stderr":  # it holds paths and versions of one machine
                found.append(f"warning: {lines[0].rpartition('/')[2]}")
            found += [line for line in lines if line.startswith(NOT_MET)]
    return found
