"""Every claim of tests/kernels, compiled. A test keeps its name, after its module's."""

import importlib

MODULES = ["shift", "joint", "norm", "logprob", "pairs", "operators"]
INTERPRETER_ONLY = {"test_dispatch_follows_the_switch_and_refuses_unknown_names"}

for module in MODULES:
    source = importlib.import_module(f"test_kernel_{module}")
    for name in dir(source):
        if name.startswith("test_") and name not in INTERPRETER_ONLY:
            globals()[f"test_{module}_{name.removeprefix('test_')}"] = getattr(source, name)
