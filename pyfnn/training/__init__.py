"""Training of any `Model` as a user does it: `fit` in minibatches, `minimize` on all rows at once.

Around them: schedules of the learning rate, optimizers, checkpoints, and diagnostics of what goes wrong.
"""

from pyfnn.optimizers import SGD, Adam, Momentum, Optimizer
from pyfnn.training.checkpoints import Checkpoints, CheckpointWarning
from pyfnn.training.diagnostics import Diagnostics, diagnose
from pyfnn.training.divergence import FitDiverged
from pyfnn.training.full_batch import minimize
from pyfnn.training.history import Callback, Epoch, History
from pyfnn.training.loop import fit
from pyfnn.training.schedules import Constant, Cosine, InverseTime, Schedule, Step

__all__ = [
    "SGD",
    "Adam",
    "Callback",
    "CheckpointWarning",
    "Checkpoints",
    "Constant",
    "Cosine",
    "Diagnostics",
    "Epoch",
    "FitDiverged",
    "History",
    "InverseTime",
    "Momentum",
    "Optimizer",
    "Schedule",
    "Step",
    "diagnose",
    "fit",
    "minimize",
]
