"""Nothing imports Triton unless it is needed, and a machine without it runs everything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIB = str(Path(__file__).resolve().parents[2] / "lib")
BLOCKED = """
import sys
class NoTriton:
    def find_spec(self, name, path=None, target=None):
        if name == "triton" or name.startswith("triton."):
            raise ModuleNotFoundError("No module named 'triton'", name="triton")
sys.meta_path.insert(0, NoTriton())
import torch
sys.platform = "darwin"
"""
USE_ALL = """
import torch
from valuelab import kernels
h, w = torch.randn(4, 8), torch.randn(8)
packed = kernels.settings(0.0, 1.0)
kernels.steer(h, w, packed); kernels.steer(h, w, packed, inplace=True)
many = kernels.settings(0.0, [1.0, 2.0], ["at least"] * 2)
kernels.steer_joint(h, kernels.prepare(torch.randn(2, 8)), many)
kernels.add_steer_norm(h, h, w, w, packed)
kernels.token_log_prob(h, torch.arange(4)); kernels.pair_loss(h, h)
kernels.linear_log_prob(h, torch.randn(9, 8), torch.arange(4))
"""


where_triton_is = pytest.mark.skipif(sys.platform != "linux", reason="Triton has wheels for Linux only")


def run(code, **env):
    clean = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "VALUELAB_KERNELS")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PYTHONPATH": LIB, **env},
        capture_output=True,
        text=True,
    )


def test_on_a_cpu_every_operator_runs_without_importing_triton():
    done = run(USE_ALL + "import sys; assert 'triton' not in sys.modules")
    assert done.returncode == 0, done.stderr


def test_where_triton_does_not_exist_every_operator_runs_and_the_interpreter_says_why_not():
    done = run(
        BLOCKED + USE_ALL + "assert not kernels.available()\n"
        "try:\n    kernels.start_interpreter()\n"
        "except RuntimeError as error:\n    print(error)\n"
    )
    assert done.returncode == 0, done.stderr
    assert "wheels for Linux only" in done.stdout


@where_triton_is
def test_the_interpreter_asked_for_too_late_is_refused_with_the_repair():
    done = run(
        "import triton, torch\nfrom valuelab import kernels\n"
        "kernels.steer(torch.randn(2, 4), torch.randn(4), kernels.settings(0.0, 1.0))",
        VALUELAB_KERNELS="interpret",
    )
    assert done.returncode != 0 and "TRITON_INTERPRET=1 before" in done.stderr


@where_triton_is
def test_an_interpreter_that_does_not_fit_this_numpy_is_refused_with_the_repair():
    done = run(
        "import numpy, triton\nnumpy.__version__, triton.__version__ = '2.5.2', '3.6.0'\n"
        "from valuelab import kernels\nkernels.start_interpreter()",
        TRITON_INTERPRET="1",
    )
    assert done.returncode != 0 and "Install triton 3.7 or newer, or numpy<2.5" in done.stderr
