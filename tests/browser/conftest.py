"""JupyterLab, started by the command that `make lab` runs, on a copy of the course; and a headless Chromium."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
SHOTS = ROOT / "out" / "browser"


def pytest_collection_modifyitems(items):
    if CHROMIUM and DRIVER:
        return
    why = "no Chromium and chromedriver on the PATH (Debian: apt install chromium chromium-driver)"
    for item in items:
        if "tests/browser" in item.path.as_posix():
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def course(tmp_path_factory) -> Path:
    """A copy of the course: JupyterLab saves the notebooks that it runs."""
    copy = tmp_path_factory.mktemp("lab") / "course"
    for name in ("notebooks", "solutions", "datasets"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


@pytest.fixture(scope="session")
def link(course, tmp_path_factory) -> str:
    """The link with its token, as JupyterLab prints it."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    environment = {**os.environ, "HOME": str(home), "JUPYTER_CONFIG_DIR": str(home / "config")}
    for name in ("TRITON_INTERPRET", "VALUELAB_KERNELS"):  # a lesson chooses for itself
        environment.pop(name, None)
    log = home / "lab.log"
    command = [sys.executable, "-m", "valuelab", "lab", "--port", str(port), "--browser", "none"]
    with log.open("wb") as out:
        lab = subprocess.Popen(command, cwd=course, env=environment, stdout=out, stderr=out, start_new_session=True)
    try:
        end = time.time() + 120
        while not (found := re.search(r"http://(?:localhost|127\.0\.0\.1):\d+/lab\S*token=\w+", log.read_text())):
            assert lab.poll() is None, f"JupyterLab ended:\n{log.read_text()[-2000:]}"
            assert time.time() < end, f"JupyterLab printed no link in two minutes:\n{log.read_text()[-2000:]}"
            time.sleep(0.3)
        yield found[0]
    finally:
        os.killpg(lab.pid, signal.SIGTERM)
        lab.wait(30)


@pytest.fixture(scope="session")
def chromium():
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000"):
        options.add_argument(flag)
    driver = Chrome(options=options, service=Service(DRIVER))
    driver.set_page_load_timeout(120)
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, request):
    """The browser; a screenshot is kept in out/browser/ where a test fails."""
    failed = request.session.testsfailed
    yield chromium
    if request.session.testsfailed > failed:
        SHOTS.mkdir(parents=True, exist_ok=True)
        chromium.save_screenshot(str(SHOTS / f"{re.sub(r'[^a-z0-9]+', '-', request.node.name.lower())}.png"))
