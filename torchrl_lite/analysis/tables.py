"""Tables in Markdown."""

from collections.abc import Iterable, Sequence


def as_markdown(header: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    first, *lines = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return "\n".join([first, "|---" * len(header) + "|", *lines])
