"""For pytest and nbval alike: no network but this machine, one thread, no display, captions not compared."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
OFFLINE = ROOT / "tests" / "offline"

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("VALUELAB_PROGRESS", os.devnull)
# Triton reads the first of these once, when it is first imported, so it stands before any import (`make gpu` says 0).
KERNELS = {"TRITON_INTERPRET": "1", "VALUELAB_KERNELS": "torch"}
for name, wanted in KERNELS.items():
    os.environ.setdefault(name, wanted)
os.environ.pop("VALUELAB_MODEL", None)  # what is tested is the embedded model
# Notebook kernels and other processes that tests start find this library and the same refusal of the network.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(OFFLINE), str(ROOT / "lib"), *filter(None, [os.environ.get("PYTHONPATH")])]
)
sys.modules.pop("sitecustomize", None)
sys.path.insert(0, str(OFFLINE))
import sitecustomize as offline  # noqa: E402


@pytest.fixture(autouse=True)
def no_network():
    """Fails a test that tried to reach another machine, even where its code swallowed the refusal."""
    before = len(offline.refused)
    yield
    tried = offline.refused[before:]
    del offline.refused[before:]
    assert not tried, f"this test tried to reach {', '.join(tried)}: tests and lessons use no network"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real files. In CI its absence is a failure, elsewhere a skip."""
    folder = Path(os.environ.get("VALUELAB_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        reason = f"the real datasets are not at {folder}; name their folder with VALUELAB_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.hookimpl(tryfirst=True)
def pytest_collectstart(collector):
    """nbval: student notebooks have to run, solved ones to say the same; a caption's digits never decide."""
    if type(collector).__name__ != "IPyNbFile":
        return
    collector.skip_compare += ("text/markdown",)
    collector.compare_outputs = collector.path.parent.name != "notebooks"
    start = collector.setup

    def setup():
        kept = {name: os.environ.pop(name) for name in KERNELS if name in os.environ}  # a lesson chooses for itself
        try:
            start()
        finally:
            os.environ.update(kept)

    collector.setup = setup
