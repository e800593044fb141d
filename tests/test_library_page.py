"""docs/LIBRARY.md does what it says, and the rooms give their names as it imports them."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from valuelab import models, world
from valuelab.course import inputs

ROOT = Path(__file__).resolve().parents[1]
LAZY = ("measure", "rewards", "rlhf")


@pytest.mark.slow
def test_the_blocks_of_the_page_run_in_order_and_steering_beats_the_random_direction(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "LIBRARY.md").read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 5
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert names["found"].accuracy.low > 0.9 and names["probe"].layer == names["layer"]
    assert (tmp_path / "security.safetensors").is_file() and (tmp_path / "report.html").is_file()
    assert set(names["results"]["values"]) == {"security"} and len(names["replies"]["random"]) == 20

    lm, asked = names["lm"], world.situations("held_out", 60, seed=1, value="security")
    prompts = [models.chat(lm, s.text) + " I would" for s in asked]

    def chosen(step, strength):
        with names["steer"](lm, names["add"]({names["layer"]: step}, strength)):
            ours, other = (
                models.log_probs(lm, prompts, [f" {x.base}." for s in asked for x in s.offered if which(x.value)])
                for which in ("security".__eq__, "security".__ne__)
            )
        return float(torch.sigmoid(ours - other).mean())

    plain = chosen(names["step"], 0.0)
    along = chosen(names["step"], 4.0) - plain
    other = chosen(names["random_direction"](names["step"], seed=0), 4.0) - plain
    assert along > 0.1 and along > 2 * abs(other)


@pytest.mark.parametrize("room", LAZY)
def test_a_room_gives_the_names_of_its_modules_and_no_others(room):
    package = importlib.import_module(f"valuelab.{room}")
    modules = {path.stem for path in Path(package.__file__).parent.glob("*.py")}
    assert package.__all__ and not modules & set(package.__all__), "a module must not be hidden by a name"
    for name in package.__all__:
        home = getattr(package, name)
        assert home is getattr(package, name) and name in dir(package)
    with pytest.raises(AttributeError, match=f"'valuelab.{room}' has no attribute 'nonsense'"):
        _ = package.nonsense
    for module in modules - {"__init__"}:
        assert module in package.__doc__ or room == "measure", f"{module} is not in the room's list"


def test_pure_functions_of_rewards_load_no_model():
    code = "import sys, valuelab.rewards.transforms; sys.exit('valuelab.models' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_lessons_and_library_import_from_modules():
    """What a lesson was made from is read from its import statements, which do not say where such a name lives."""
    for path in [*(ROOT / "solutions").glob("*.py"), *(ROOT / "lib").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module in [f"valuelab.{room}" for room in LAZY]:
                for alias in node.names:
                    assert inputs.module_file(f"{node.module}.{alias.name}"), f"{path.name}: {ast.unparse(node)}"
