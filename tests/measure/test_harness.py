"""The evaluation harness must agree with the native runner. Needs the optional extra."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from valuelab import models, world
from valuelab.measure import harness, readout
from valuelab.measure.forced import summarise_orders

HERE = importlib.util.find_spec("lm_eval") is not None
needs_harness = pytest.mark.skipif(
    not HERE, reason="lm-eval is not installed (pip install .[eval])"
)
FRAMES = (" I would {b}.", " I will {b}.")


def asked(lm):
    return [
        readout.planted_choice(lm, s, opening="", frames=FRAMES)
        for s in world.situations("held_out", 6)
    ]


@pytest.fixture
def items(toy):
    return asked(toy)


def test_the_task_is_written_with_two_rows_for_each_item(items, tmp_path):
    folder = harness.write_task(items, tmp_path / "tasks")
    assert sum(1 for _ in (folder / f"{harness.TASK}.jsonl").open()) == 12
    code = (folder / f"{harness.TASK}_metrics.py").read_text()
    scope = {}
    exec(code, scope)  # our own file
    row = scope["process_results"]({"n_a": 1}, [(np.log(0.3), True), (np.log(0.1), False)])
    assert row == pytest.approx({"valid": 0.4, "share_a": 0.75})


def test_the_adapter_scores_like_the_native_runner(toy):
    prompts, ends = ["I would", "My choice is"], [" walk.", " to rest at home."]
    ours = models.log_probs(toy, prompts, ends).tolist()
    found = harness._score_pairs(toy, prompts, ends, 2)
    assert [lp for lp, _ in found] == pytest.approx(ours, abs=1e-4)
    assert harness._generate(toy, "I would", {"until": ["."], "max_gen_toks": 4}) is not None


@needs_harness
@pytest.mark.parametrize("which", ["toy", "embedded"])
def test_the_harness_agrees_to_a_ten_thousandth_in_log_probability(
    which, toy, tmp_path, monkeypatch
):
    lm = toy if which == "toy" else models.load()
    items = asked(lm)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder = harness.write_task(items, tmp_path / "tasks")
    result = harness.run_task(lm, folder)
    mass = harness.mass_of(result["samples"][harness.TASK])
    native = readout.forced_choice(lm, items)
    assert np.abs(np.log(mass) - np.log(native.mass)).max() < 1e-4
    ours = summarise_orders(native.mass, [i.context_id for i in items])
    theirs = summarise_orders(mass, [i.context_id for i in items])
    assert theirs.debiased.estimate == pytest.approx(ours.debiased.estimate, abs=1e-4)
    printed = result["results"][harness.TASK]["valid,none"]
    assert printed == pytest.approx(native.mass.sum(2).mean(), rel=1e-3)


def test_without_the_extra_the_error_names_it():
    code = (
        "import sys; sys.modules['lm_eval'] = None\n"
        "from valuelab.measure import harness\n"
        "try: harness._needs_harness()\n"
        "except ImportError as e: print(e)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'valuelab[eval]'" in out.stdout
