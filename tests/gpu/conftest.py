"""`make gpu`: the claims of tests/kernels on compiled kernels, on a machine with a CUDA GPU.

Needs torch, triton, transformers and pytest from `PYTHONPATH=lib`, nothing else. Run it alone: a
process that interprets Triton cannot compile it.
"""

import os
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "kernels"))


@pytest.fixture
def device():
    """The GPU; or a skip that says why there is none."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here: run `make gpu` where there is one")
    if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0"):
        pytest.skip("TRITON_INTERPRET is set, so kernels would be interpreted: run `make gpu`")
    from valuelab import kernels

    with kernels.using("auto"):
        assert kernels.choose(torch.empty(0, device="cuda")) == "triton"
        yield "cuda"
