"""Which folders are packages; everything else is in pyproject.toml.

``config/`` and ``pretrained/`` stay at the top of the repository and are installed inside the
package, where `torchrl_lite.config.shipped` finds them.
"""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = ["config", *(str(path.parent) for path in Path("config").glob("*/*.json")), "pretrained"]
SHIPPED = {f"torchrl_lite.shipped.{name.replace('/', '.')}": name for name in FOLDERS}

setup(packages=[*find_packages(include=["torchrl_lite*"]), *SHIPPED], package_dir=SHIPPED)
