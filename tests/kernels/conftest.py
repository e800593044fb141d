"""The kernels' claims, in Triton's interpreter: no GPU, one program after another.

`tests/gpu` collects the same test functions with a compiled `device`. The interpreter must be
chosen before anything imports Triton, so this file does so while pytest collects.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("TRITON_INTERPRET", "1")
os.environ.setdefault("VALUELAB_KERNELS", "torch")  # other tests of this process stay on the reference

import pytest

from valuelab import kernels


@pytest.fixture
def device():
    """The device the claims are tested on; kernels run interpreted on it."""
    if not kernels.available():
        pytest.skip(f"Triton has no wheel for {sys.platform}: the reference is all that runs here")
    with kernels.using("interpret"):
        yield "cpu"
