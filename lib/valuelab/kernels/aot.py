"""Compile the kernels ahead of time for GPUs that are not here, and read what the compiler made.

Triton's wheel carries NVIDIA's assembler and AMD's LLVM backend, so a laptop can build the machine
code of an H200 and count its registers, spills, shared memory and wide loads. It cannot run it:
speed, races and rounding are for the machine itself.

    python -m valuelab.kernels.aot --targets sm_90 gfx942 --builds steer logprob

An interpreted kernel cannot be compiled in the same process, so `report` starts one of its own.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

TARGETS = ("sm_75", "sm_80", "sm_89", "sm_90", "sm_100", "sm_120", "gfx942")


@dataclass(frozen=True)
class Build:
    """One kernel with the argument types, constants and warps of one use of it."""

    module: str
    kernel: str
    types: str  # of the run-time arguments in order; p16 p32 pl: pointers; a ' ' separates
    constants: dict
    warps: int
    loose: tuple[str, ...] = ()  # integer arguments and pointers not known to be multiples of 16


_SHAPE = "i32 i32 i32 i32"
_STEER = f"bf bf f32* f32* i1* f32* f32* {_SHAPE}"
_FLAGS = {"IN_PLACE": True, "HAS_GATE": True, "EXACT": False}
_ROW = {"ROWS": 1, "BLOCK": 4096}
BUILDS = {
    "steer": Build("shift_triton", "steer_kernel", _STEER, {**_FLAGS, **_ROW}, 8),
    "steer_rows": Build("shift_triton", "steer_kernel", _STEER, {**_FLAGS, **_ROW, "ROWS": 4}, 8),
    "steer_out": Build(
        "shift_triton", "steer_kernel", _STEER, {**_FLAGS, **_ROW, "IN_PLACE": False}, 8
    ),
    "steer_odd_width": Build(
        "shift_triton", "steer_kernel", _STEER, {**_FLAGS, **_ROW}, 8,
        ("width", "h_stride", "out_stride"),
    ),
    "steer_wide": Build(
        "shift_triton", "steer_wide_kernel", _STEER, {**_FLAGS, "BLOCK": 8192}, 16
    ),
    "norm": Build(
        "norm_triton", "add_steer_norm_kernel",
        f"bf bf bf f32* f32* i1* bf bf f32* f32* {_SHAPE} f32",
        {"HAS_GATE": True, "EXACT": False, **_ROW}, 8,
    ),
    "logprob": Build(
        "logprob_triton", "log_prob_kernel", "bf i64* f32* f32* f32* i32 i32 f32",
        {"BLOCK": 8192}, 8,
    ),
    "logprob_backward": Build(
        "logprob_triton", "log_prob_backward_kernel",
        "f32* f32* bf i64* f32* f32* bf i32 i32 i32 f32", {"BLOCK": 8192, "EXACT": False}, 8,
    ),
    "pairs": Build("pairs_triton", "pair_loss_kernel", "f32* f32* f32* i32 f32", {"BLOCK": 1024}, 4),
    "pairs_backward": Build(
        "pairs_triton", "pair_loss_backward_kernel", "f32* f32* f32* f32* i32 f32",
        {"BLOCK": 1024}, 4,
    ),
    "joint4": Build(
        "joint_triton", "steer_joint_kernel",
        f"bf bf f32* f32* f32* i1* f32* f32* f32* {_SHAPE} f32 f32",
        {**_FLAGS, "K": 4, "KP": 4, "ROWS": 4, "BLOCK": 256}, 4,
    ),
    "joint8": Build(
        "joint_triton", "steer_joint_kernel",
        f"bf bf f32* f32* f32* i1* f32* f32* f32* {_SHAPE} f32 f32",
        {**_FLAGS, "K": 8, "KP": 8, "ROWS": 4, "BLOCK": 256}, 4,
    ),
    "programme8": Build(
        "joint_triton", "programme_kernel", "f32* f32* f32* f32* i1* f32* f32* f32* bf i32 f32 f32",
        {"HAS_GATE": True, "PARTS": 3, "K": 8, "KP": 8, "ROWS": 16, "EXACT": False}, 4,
    ),
    "programme16": Build(
        "joint_triton", "programme_kernel", "f32* f32* f32* f32* i1* f32* f32* f32* bf i32 f32 f32",
        {"HAS_GATE": True, "PARTS": 3, "K": 16, "KP": 16, "ROWS": 8, "EXACT": False}, 4,
    ),
}  # fmt: skip

LESSON = {  # the same step on a block of rows and on one row, as lesson 05 compares them
    "block of 4 rows": Build(
        "teaching", "steer_rows_kernel", "bf f32* i1* f32 f32 i32 i32 i32",
        {"ROWS": 4, "BLOCK": 4096}, 8, ("n",),
    ),
    "one row": Build(
        "teaching", "steer_kernel", "bf f32* i1* f32 f32 i32 i32", {"BLOCK": 4096}, 8
    ),
    "one row, width unknown": Build(
        "teaching", "steer_kernel", "bf f32* i1* f32 f32 i32 i32", {"BLOCK": 4096}, 8,
        ("width", "stride"),
    ),
}  # fmt: skip
_KNOWN = {**BUILDS, **LESSON}


def compile_build(build: Build, target: str, keep_code: bool = False) -> dict:
    """Compile one kernel for one target. Returns registers, spills, shared bytes and loads.

    Needs a process where Triton is not interpreting; `report` sees to that.
    """
    import importlib

    import triton  # noqa: F401  before a teaching kernel could choose the interpreter

    kernel = getattr(importlib.import_module(f"valuelab.kernels.{build.module}"), build.kernel)
    return compile_kernel(getattr(kernel, "real", lambda: kernel)(), build, target, keep_code)


def compile_kernel(kernel, build: Build, target: str, keep_code: bool = False) -> dict:
    """The same for any `@triton.jit` kernel, with the types and constants of `build`.

    `keep_code` adds the PTX text, where the target has one.
    """
    import triton
    from triton.compiler import ASTSource

    started = time.perf_counter()
    names = [n for n in kernel.arg_names if n not in build.constants]
    types = [_TYPES.get(t) or t for t in build.types.split()]
    if len(names) != len(types):
        raise ValueError(f"aot: {kernel.__name__} takes {names}, but {len(types)} types are given.")
    typed = dict(zip(names, types, strict=True))
    signature = {n: typed.get(n, "constexpr") for n in kernel.arg_names}
    aligned = [
        i for i, n in enumerate(kernel.arg_names)
        if n in typed and n not in build.loose and n != "n_rows" and typed[n][0] in "*i"
    ]  # fmt: skip
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs=build.constants,
        attrs={(i,): [["tt.divisibility", 16]] for i in aligned},
    )
    built = triton.compile(source, target=_gpu(target), options={"num_warps": build.warps})
    found = _read_amd(built) if target.startswith("gfx") else _read_nvidia(built)
    if keep_code and "ptx" in built.asm:
        found["ptx"] = built.asm["ptx"]
    found["seconds"] = round(time.perf_counter() - started, 2)
    return found


_TYPES = {
    "bf": "*bf16", "f32*": "*fp32", "i1*": "*i1", "i64*": "*i64", "f32": "fp32", "h": "*fp16"
}  # fmt: skip


def _gpu(target: str):
    from triton.backends.compiler import GPUTarget

    if target.startswith("gfx"):
        return GPUTarget("hip", target, 64)
    return GPUTarget("cuda", int(target.removeprefix("sm_")), 32)


def count_loads(ptx: str) -> dict[int, int]:
    """Global loads of a kernel's PTX, counted by the bits each thread fetches at once.

    A line `ld.global.v4.b32 {...}, [...]` fetches 4 x 32 = 128 bits, the widest there is. A load
    without `.v2` or `.v4` fetches one element. Modifiers may stand between: `ld.global.L1::evict_last.v2.b64`.
    """
    found: dict[int, int] = {}
    for modifiers, bits in re.findall(r"\bld\.global([.\w:]*?)\.[bfsu](\d+)\s", ptx):
        lanes = re.search(r"\.v(\d)", modifiers)
        width = int(bits) * (int(lanes.group(1)) if lanes else 1)
        found[width] = found.get(width, 0) + 1
    return dict(sorted(found.items()))


def _read_nvidia(built) -> dict:
    ptx = built.asm["ptx"]
    usage = _resource_usage(built.asm["cubin"])
    loads = count_loads(ptx)
    return {
        "registers": usage["REG"],
        "spills": usage["STACK"] + usage["LOCAL"],
        "shared": built.metadata.shared,
        "barriers": len(re.findall(r"\bbar(?:rier)?\.(?:cta\.)?sync", ptx)),
        "loads": {str(k): v for k, v in loads.items()},
        "wide_loads": loads.get(128, 0) + loads.get(256, 0),
    }


def _resource_usage(cubin: bytes) -> dict[str, int]:
    """Registers and stack, as NVIDIA's own tool reads them from the machine code."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run(
            [str(tool), "--dump-resource-usage", file.name],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    return {key: int(n) for key, n in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", text)}


def _read_amd(built) -> dict:
    text = built.asm["amdgcn"]

    def entry(name: str) -> int:
        return int(re.search(rf"\.{name}:\s*(\d+)", text).group(1))

    loads = {32: "dword", 64: "dwordx2", 128: "dwordx4"}
    counted = {str(bits): len(re.findall(rf"\b(?:global|buffer)_load_{name}\b", text)) for bits, name in loads.items()}
    return {
        "registers": entry("vgpr_count"),
        "spills": entry("vgpr_spill_count") + entry("sgpr_spill_count"),
        "shared": built.metadata.shared,
        "barriers": len(re.findall(r"\bs_barrier\b", text)),
        "loads": counted,
        "wide_loads": counted["128"],
    }


def report(
    builds: list[str] | None = None,
    targets: list[str] | None = None,
    source: str | None = None,
    extra: dict[str, Build] | None = None,
    keep_code: bool = False,
) -> list[dict]:
    """Compile in a process of its own and return one row for each kernel and target.

    Args:
        builds: names from BUILDS (or of `extra`); all of BUILDS by default.
        targets: "sm_75" ... or "gfx942"; all of TARGETS by default.
        source: text of a Python module with kernels of your own, for `extra`.
        extra: builds of the kernels in `source`; their `module` is ignored.
        keep_code: add each row's PTX text.

    Raises:
        RuntimeError: Triton is not installed here, or the process failed.
    """
    from .backend import available

    if not available():
        raise RuntimeError(
            f"aot: compiling needs Triton, which has wheels for Linux only (this is "
            f"{sys.platform}). The numbers of the course are in its lesson."
        )
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    lib = str(Path(__file__).resolve().parents[2])
    env["PYTHONPATH"] = os.pathsep.join([lib, env.get("PYTHONPATH", "")])
    env.setdefault("TRITON_DEFAULT_FP_FUSION", "1")  # its default is about to change: pin it
    command = [sys.executable, "-m", "valuelab.kernels.aot", "--json"]
    command += ["--builds", *(builds or BUILDS)] if builds or not extra else []
    command += ["--targets", *(targets or TARGETS)] + ["--code"] * keep_code
    with tempfile.TemporaryDirectory() as folder:
        if extra:
            file = Path(folder) / "learner.py"
            file.write_text(source or "")
            chosen = {name: asdict(build) for name, build in extra.items()}
            command += ["--source", str(file), "--extra", json.dumps(chosen)]
        done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"aot: the compiling process failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def lesson_report() -> list[dict]:
    """Lesson 05's three kernels for an H200, with PTX: compiled here, or as recorded elsewhere.

    Where there is no Triton the rows are those of `recorded_sm90.json`, whose PTX holds the lines
    that touch memory.
    """
    from .backend import available

    if available():
        return report(list(LESSON), ["sm_90"], keep_code=True)
    return json.loads(Path(__file__).with_name("recorded_sm90.json").read_text())["rows"]


def _load_source(path: str):
    import importlib.util

    spec = importlib.util.spec_from_file_location("learner", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _rows(args) -> list[dict]:
    rows = []
    for target in args.targets:
        for name in args.builds:
            rows.append(
                {
                    "build": name,
                    "target": target,
                    **_guarded(lambda name=name, target=target: compile_build(_KNOWN[name], target, args.code)),
                }
            )
        if args.extra:
            module = _load_source(args.source)
            for name, fields in json.loads(args.extra).items():
                build = Build(**fields)
                kernel = getattr(module, build.kernel)
                rows.append({"build": name, "target": target, **_guarded(
                    lambda kernel=kernel, build=build, target=target:
                    compile_kernel(kernel, build, target, args.code))})  # fmt: skip
    return rows


def _guarded(compile_it) -> dict:
    """A build that fails is a row of the table, not the end of it."""
    try:
        return compile_it()
    except Exception as error:  # compilers fail in many ways; the row says which
        return {"error": f"{type(error).__name__}: {str(error)[:500]}"}


def main(argv: list[str] | None = None) -> int:
    """Print the table, or JSON with `--json`. Exit status 1 if a build failed."""
    parser = argparse.ArgumentParser(prog="python -m valuelab.kernels.aot", description=__doc__)
    parser.add_argument("--targets", nargs="+", default=list(TARGETS))
    parser.add_argument("--builds", nargs="*", default=None, choices=[*_KNOWN, []])
    parser.add_argument("--source")
    parser.add_argument("--extra")
    parser.add_argument("--code", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if args.builds is None:
        args.builds = [] if args.extra else list(BUILDS)
    rows = _rows(args)
    if args.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        if "error" in row:
            print(f"{row['build']:18}{row['target']:8} FAILED {row['error']}")
            continue
        print(
            f"{row['build']:18}{row['target']:8}{row['registers']:5} registers{row['spills']:6} "
            f"spilled{row['shared']:7} B shared{row['barriers']:3} barriers  loads {row['loads']}"
            f"  {row['seconds']} s"
        )
    return int(any("error" in row for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
