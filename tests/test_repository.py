"""Rules of the house that no single room can keep alone."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from valuelab.course import inputs

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "lib" / "valuelab"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# In the order in which data flows: a module imports from rooms above its own, or from its own.
ROOMS = (
    "values taxonomies data world kernels models activations measure probes steering rewards rlhf "
    "weights plots evaluate course cli"
).split()
SOURCES = sorted(p for p in LIBRARY.rglob("*.py") if p.name != "__main__.py" and p != LIBRARY / "__init__.py")


def room(module: str) -> str:
    return module.split(".")[1]


def module_name(path: Path) -> str:
    parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def upward(module: str, package: str, source: str) -> list[str]:
    """Rooms below its own that a module imports from."""
    own = ROOMS.index(room(module))
    found = {name for name in inputs._imports(source, package) if name.count(".")}
    return sorted({room(n) for n in found if room(n) in ROOMS and ROOMS.index(room(n)) > own})


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(LIBRARY)))
def test_data_flows_down_the_list_of_rooms(path):
    module = module_name(path)
    assert room(module) in ROOMS, f"{module}: a new room needs its place in the order (ROOMS, and the design)"
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    below = upward(module, package, path.read_text(encoding="utf-8"))
    if room(module) == "cli":
        return  # the command line calls every room, and nothing calls it
    assert not below, f"{module} imports from {below}, which lie below {room(module)!r}"


def test_an_import_from_below_is_found_however_it_is_written():
    for line in ("import valuelab.course.check", "from valuelab import plots", "from ..evaluate import report",
                 "def f():\n    from ..cli import main", "from .. import course"):  # fmt: skip
        assert upward("valuelab.steering.shift", "valuelab.steering", line), line
    assert not upward("valuelab.steering.shift", "valuelab.steering", "from . import gate\nfrom ..values import VALUES")


def names_and_floors(lines) -> dict[str, str]:
    return {re.split(r"[<>=!~;\[ ]", line)[0].lower(): line.replace(" ", "") for line in lines}


def test_conda_users_get_the_same_floors():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    wanted = {line.replace('"', "'").replace(" ", "") for line in PROJECT["dependencies"]}
    listed = [line.strip()[2:] for line in text.splitlines() if line.startswith("      - ")]
    given = {line.replace('"', "'").replace(" ", "") for line in listed}
    assert given - {"--constraintconstraints.txt", "--editable.[dev]"} == wanted
    assert f"python{PROJECT['requires-python']}" in text.replace(" ", "")


def test_every_requirement_is_pinned_and_no_pin_is_below_its_floor():
    from packaging.requirements import Requirement
    from packaging.version import Version

    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            assert [s.operator for s in pin.specifier] == ["=="], line
            assert "+" not in str(pin.specifier), f"{line}: a local build is no pin that others can install"
            pins[pin.name.lower().replace("_", "-")] = Version(next(iter(pin.specifier)).version)
    for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]:
        requirement = Requirement(line)
        assert pins[requirement.name.lower().replace("_", "-")] in requirement.specifier, line
    assert (str(pins["torch"]), str(pins["triton"])) == ("2.13.0", "3.7.1")


def test_what_is_tested_is_what_is_pinned():
    import torch
    import transformers

    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert f"torch=={torch.__version__.split('+')[0]}\n" in text
    assert f"transformers=={transformers.__version__}\n" in text


FORBIDDEN = {
    r"\bpickle\b|\bjoblib\.load|torch\.load\(|np\.load\([^)]*allow_pickle=True": "unpickles",
    r"trust_remote_code\s*=\s*True": "runs code of a model it did not write",
}


@pytest.mark.parametrize("pattern", FORBIDDEN, ids=list(FORBIDDEN.values()))
def test_the_library_never(pattern):
    code = {p: "\n".join(ast.unparse(n) for n in ast.walk(ast.parse(p.read_text(encoding="utf-8")))
                         if isinstance(n, ast.Call | ast.Import | ast.ImportFrom)) for p in SOURCES}  # fmt: skip
    assert not [str(p) for p, text in code.items() if re.search(pattern, text)]


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout, so there is no list of files")
    return [ROOT / name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_no_file_names_a_folder_of_one_machine():
    pattern = re.compile(rb"/(?:home|root|Users)/[a-z]|(?<![\w.])/work/(?:main|shared|notes)|file:///opt")
    texts = [p for p in tracked() if p.suffix not in (".safetensors", ".png", ".gz") and p != Path(__file__)]
    found = [str(p.relative_to(ROOT)) for p in texts if pattern.search(p.read_bytes())]
    assert not found


def test_the_readme_gives_the_two_commands_and_links_to_what_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make lab" in text and "make test" in text
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (ROOT / target).exists(), f"README.md links to {target}, which is not there"


def test_every_make_target_that_is_promised_exists_and_explains_itself():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in "help lab test browser grade tracks course build model gpu clean".split():
        assert re.search(rf"^{target}:.*## \w", text, re.M), target
    ci = ROOT / ".ci" / "run"
    assert ci.stat().st_mode & 0o111, ".ci/run is not executable"
    for command in ("make test", "make lint", "make browser"):
        assert f"\n{command}\n" in ci.read_text(encoding="utf-8")
    lint = text.split("\nlint:")[1].split("\n\n")[0]
    assert "ruff check" in lint and "build --check" in lint


@pytest.mark.parametrize("where", ["here", "in another process"])
def test_a_connection_to_another_machine_is_refused(where):
    import sitecustomize as offline

    if where == "here":
        import socket

        for call in (lambda: socket.create_connection(("192.0.2.1", 80), 1),
                     lambda: socket.getaddrinfo("example.org", 80),
                     lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 53))):  # fmt: skip
            with pytest.raises(offline.NetworkRefused, match="no network"):
                call()
        assert len(offline.refused) == 3
        offline.refused.clear()
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), 1).close()
    else:  # where notebook kernels run
        code = "import socket; socket.create_connection(('192.0.2.1', 80), 1)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "NetworkRefused" in done.stderr
