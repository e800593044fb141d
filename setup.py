"""Only what pyproject.toml cannot say: a built package takes the course's data along, which lie outside lib/."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithData(build_py):
    """Puts `datasets/` where valuelab.data.own looks for it when there is no checkout."""

    def run(self):
        super().run()
        if not self.editable_mode:  # an editable install reads the checkout itself
            shutil.copytree("datasets", Path(self.build_lib, "valuelab", "data", "registry"), dirs_exist_ok=True,
                            ignore=shutil.ignore_patterns("__pycache__"))  # fmt: skip


setup(cmdclass={"build_py": WithData})
