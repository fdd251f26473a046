"""Which folders are packages; everything else is in pyproject.toml.

``config/`` and ``pretrained/`` stay at the top of the repository and are installed inside the
package, where `torchrl_lite.config.shipped` finds them.
"""

from setuptools import find_packages, setup

SHIPPED = {f"torchrl_lite.shipped.{name}": name for name in ("config", "pretrained")}

setup(packages=[*find_packages(include=["torchrl_lite*"]), *SHIPPED], package_dir=SHIPPED)
