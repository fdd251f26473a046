"""Policy files on the Hugging Face Hub (extra ``[hub]``).

A repository there has a policy file and its card. Nothing else is ever downloaded.
"""

import re
from pathlib import Path
from typing import Any

from torchrl_lite.config.extras import import_extra
from torchrl_lite.errors import UserError, in_one_line
from torchrl_lite.policies.file import SUFFIX

SCHEME = "hf://"
FILE = f"policy{SUFFIX}"


def check_hub(name: str, source: str) -> None:
    """
    Raises:
        UserError: ``name`` is not USER/NAME, or huggingface_hub is not installed; ``source`` says
            where the name was given.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII):
        raise UserError(f"{source}: {name!r} is not USER/NAME")
    _hub()


def _hub() -> Any:
    return import_extra("huggingface_hub", "hub", needed_by="the Hugging Face Hub")


def upload(folder: Path, name: str) -> str:
    """Uploads a folder, creating the repository if needed; returns its address.

    Raises:
        UserError: the Hub refused.
    """
    api = _hub().HfApi()
    try:
        api.create_repo(repo_id=name, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Upload a policy")
    except (OSError, ValueError) as error:  # the base classes of the Hub's errors
        raise UserError(f"--push_to_hub: {name}: {in_one_line(error)}") from None
    return f"{SCHEME}{name}"


def download(source: str) -> Path:
    """The policy file of ``hf://USER/NAME``, from the local cache if it is up to date.

    Raises:
        UserError: there is no such repository, it holds no policy, or it cannot be reached.
    """
    name = source.removeprefix(SCHEME)
    check_hub(name, source)
    try:
        return Path(_hub().hf_hub_download(repo_id=name, filename=FILE))
    except (OSError, ValueError) as error:
        raise UserError(f"{source}: {in_one_line(error)}") from None
