"""The record of a continuation in the results of a run."""

from pydantic import Field

from bench.terms import Value


class Resumption(Value):
    """A continuation of a run that had ended before its cases did, or that more time was given to.

    Attributes
    ----------
    begun : str
    command : list of str
        The words of its command line.
    more_seconds : float
        Time for measuring that was added to the run's budget.
    differences : list of str
        Changes since the run began, where `--force` continued it in spite of them.
    """

    begun: str
    command: list[str] = []
    more_seconds: float = Field(default=0.0, ge=0)
    differences: list[str] = []
