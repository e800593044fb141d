"""The sweep as a command: it ends its workers, goes on where it was, and says what made its tables."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from valuelab.rlhf import experiment as X
from valuelab.rlhf import sweep as S
from valuelab.rlhf.loop import Config

LIBRARY = Path(S.__file__).parents[2]
SMALL = Config(prompts=2, replies=2, max_new_tokens=4, steps=2, lr=1e-2)


@pytest.fixture
def cells(monkeypatch):
    made = [X.Cell("one", "one", SMALL), X.Cell("map", "map", SMALL)]
    monkeypatch.setattr(X, "sweep", lambda seeds: made)
    return made


@pytest.fixture
def folder(tiny, tmp_path):
    tiny.model.save_pretrained(tmp_path / "model")
    tiny.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path


def wait_for(what, seconds=60.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def nobody_left(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_what_ends_the_parent_ends_the_workers_and_leaves_whole_files(folder, sent):
    out = folder / "sweep"
    arguments = ["sweep", "--out", str(out), "--model", str(folder / "model"), "--workers", "2", "--quiet"]
    parent = subprocess.Popen(
        [sys.executable, "-m", "valuelab", *arguments], start_new_session=True, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        wait_for(lambda: len(list(out.glob("*/evaluations.json"))) >= 2 or parent.poll() is not None, 300)
        assert parent.poll() is None, parent.stderr.read()
        parent.send_signal(sent)
        said = parent.communicate(timeout=120)[1]
        wait_for(lambda: nobody_left(parent.pid), 120)
    finally:
        if not nobody_left(parent.pid):
            os.killpg(parent.pid, signal.SIGKILL)
    if sent == signal.SIGTERM:
        assert parent.returncode == 130 and "the same command goes on from here" in said
    assert not list(out.rglob("*.part")) and not list(out.rglob(".*"))
    for path in out.rglob("*.json"):
        json.loads(path.read_text())


def test_a_sweep_that_is_made_writes_its_tables_and_says_what_made_them(folder, cells, monkeypatch):
    lm, out = S.models.load(str(folder / "model")), folder / "sweep"
    monkeypatch.setattr(S, "run_all", lambda model, todo, out, *_: [S.make(lm, c, out, n) for c, n in todo])
    monkeypatch.setattr(X, "best_of_n_rows", lambda lm: [])
    evaluations, by_step, record = S.sweep(out, model=str(folder / "model"), progress=False)
    looked_at = range(0, SMALL.steps + 1, X.EVERY)
    assert [(r["arm"], r["step"]) for r in X.stored(evaluations)] == [(a, s) for a in ("one", "map") for s in looked_at]
    assert [(r["arm"], r["step"]) for r in X.stored(by_step)] == [("one", 0), ("one", 1), ("map", 0), ("map", 1)]
    said = json.loads(record.read_text())
    assert said["fingerprint"] == lm.fingerprint and said["seeds"] == [0]
    assert said["commits"] == [S.commit() or "no repository"]
    assert said["arms"]["map-b0.05-s0"]["config"]["lr"] == 1e-2 and min(said["map"]["weights"]) >= 0
    assert not list(out.glob("*/checkpoint-*"))


def test_what_is_made_is_not_made_again_and_another_model_is_refused(tiny, another, tmp_path, cells):
    S.make(tiny, cells[0], tmp_path, 1)
    assert S.finished(tiny, cells[0], tmp_path, 1)["steps"] == 1
    assert S.finished(tiny, cells[0], tmp_path, 2) is None  # a slice is no whole run
    assert S.finished(tiny, cells[1], tmp_path, 1) is None
    with pytest.raises(S.SweepError, match="made with another model"):
        S.finished(another, cells[0], tmp_path, 1)
    other = X.Cell("one", "one", Config(**{**vars(SMALL), "lr": 1e-3}))
    with pytest.raises(S.SweepError, match="another config. Choose another --out"):
        S.finished(tiny, other, tmp_path, 1)


def test_a_part_is_not_stored_and_an_unknown_arm_is_named(tmp_path):
    with pytest.raises(S.SweepError, match="--store keeps whole sweeps"):
        S.sweep(tmp_path, steps=1, store=True)
    with pytest.raises(S.SweepError, match="no arm nois; there are and, bonus"):
        S.sweep(tmp_path, arms=["nois"])
    with pytest.raises(S.SweepError, match="workers=0"):
        S.sweep(tmp_path, workers=0)
