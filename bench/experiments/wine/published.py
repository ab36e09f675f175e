"""The article's settings, with the test errors that it printed, and the values that this experiment chooses."""

import math
from typing import NamedTuple

WINES = ("red", "white")


class Setting(NamedTuple):
    """One row of the article's table. red, white: its mean squared errors on test rows; NaN is what it printed."""

    hidden: tuple[int, ...]
    activation: str
    rate: float
    red: float
    white: float

    @property
    def name(self) -> str:
        """Hidden widths, activation and rate, as a row of a table is named."""
        return f"{'-'.join(map(str, self.hidden))} {self.activation} {self.rate}"

    def published(self, wine: str) -> float:
        """Return the published test error of a wine."""
        return self.red if wine == "red" else self.white


L2 = 0.1  # the article's λ, in every setting
_FIVE, _SIX = (50, 30, 20, 10, 5), (50, 100, 60, 30, 20, 10)
SETTINGS = (
    Setting(_FIVE, "sigmoid", 0.1, 0.789623, 0.724354),
    Setting(_FIVE, "relu", 0.1, 0.663542, 1.028760),
    Setting(_FIVE, "tanh", 0.1, 0.663542, math.nan),
    Setting(_FIVE, "tanh", 0.01, 0.603452, 0.830197),
    Setting((50, 30, 10, 5), "tanh", 0.01, 0.667059, 0.812876),
    Setting((50, 10, 5), "relu", 0.01, 0.691021, 0.823464),
    Setting((10,), "relu", 0.01, 0.681109, 0.808402),
    Setting((10,), "tanh", 0.01, 0.592218, 0.754554),
    Setting((10,), "sigmoid", 0.01, 0.613808, 0.757545),
    Setting(_SIX, "tanh", 0.01, 0.723089, 0.753538),
    Setting(_SIX, "relu", 0.01, 0.682197, 0.748096),
    Setting(_SIX, "sigmoid", 0.01, 0.633969, 0.771930),
    Setting((10, 30, 5), "relu", 0.001, 0.656096, 0.839657),
    Setting((10, 30, 5), "sigmoid", 0.001, 0.792913, 0.840292),
    Setting((10, 30, 5), "tanh", 0.001, 0.630493, 0.805885),
)

CLAIMED_RATES = (0.01, 0.2)  # the article: rates in this range suit
RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.5)  # of the sweep
SWEPT = (((10,), "tanh"), ((10,), "relu"), (_FIVE, "sigmoid"), (_FIVE, "tanh"))  # networks of the sweep
L2_GRID = (0.0, 0.001, 0.01, 0.03, L2)  # from which validation chooses
EPOCHS = 10  # of the article's training: it does not print its own number
MOST_EPOCHS, PATIENCE = 50, 6  # of early stopping
