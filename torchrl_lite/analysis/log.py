"""A log as an array: dictionaries of every cell would take ten times the memory."""

from array import array
from collections.abc import Iterable, Iterator
from math import isnan

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from torchrl_lite.reporting.rows import Cells


class Log:
    """The measured values of each epoch; in its rows, an empty cell has no entry."""

    def __init__(self, rows: Iterable[Cells]) -> None:
        cells = array("d")
        names: list[str] = []
        for row in rows:
            names = names or list(row)
            cells.extend(float(cell or "nan") for cell in row.values())
        self._places = {name: place for place, name in enumerate(names)}
        self._cells: Float[ndarray, "N C"] = np.frombuffer(cells).reshape(-1, max(len(names), 1))
        self.columns = {name for name in names if not np.isnan(self.column(name)).all()}
        """Those with a value in any row."""

    def column(self, name: str) -> Float[ndarray, " N"]:
        """NaN where nothing was measured."""
        if name not in self._places:
            return np.full(len(self), np.nan)
        return self._cells[:, self._places[name]]

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, index: int) -> dict[str, float]:
        values = zip(self._places, self._cells[index].tolist(), strict=True)
        return {name: value for name, value in values if not isnan(value)}

    def __iter__(self) -> Iterator[dict[str, float]]:
        return (self[index] for index in range(len(self)))
