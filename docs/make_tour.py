"""Executes docs/tour.ipynb and stores what it shows: ``python docs/make_tour.py``."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

PAGE = Path(__file__).parent / "tour.ipynb"


def executed(page: Path = PAGE) -> nbformat.NotebookNode:
    """The notebook with what its cells show in a fresh kernel of this Python."""
    notebook = nbformat.read(page, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=3000,
        kernel_name="python3",
        coalesce_streams=True,
        record_timing=False,  # times and versions would differ at every execution
    )
    client.execute()
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


if __name__ == "__main__":
    nbformat.write(executed(), PAGE)
