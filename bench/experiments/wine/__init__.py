"""The article's wine experiment: as published, with its gradient corrected, and done right, beside baselines."""

from bench.experiments.engine.cell import Experiment
from bench.experiments.wine.cells import NAME, arguments, cells
from bench.experiments.wine.compute import compute
from bench.experiments.wine.data import requires
from bench.experiments.wine.report import report

EXPERIMENT = Experiment(
    name=NAME,
    summary="the article's 15 settings on red and white wine: as published, gradient corrected, done right",
    version=1,
    cells=cells,
    compute=compute,
    report=report,
    arguments=arguments,
    requires=requires,
    question="Do the article's networks predict the marks of wines, as it trained them and done right?",
)
