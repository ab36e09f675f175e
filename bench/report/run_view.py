"""The view of a whole run. Built once and passed to tables, summary and figures."""

from dataclasses import dataclass

from bench.report.sweeps import SweepView, sweeps_of
from bench.report.views import CaseView, NotTimed, case_views, not_timed
from bench.results.schema import Results


@dataclass(frozen=True)
class RunView:
    """A run as a report shows it.

    Attributes
    ----------
    results : Results
    cases : tuple of CaseView
        All cases, in the order of the run.
    sweeps : tuple of SweepView
    cases_of_no_sweep : tuple of CaseView
    not_timed : tuple of NotTimed
    """

    results: Results
    cases: tuple[CaseView, ...]
    sweeps: tuple[SweepView, ...]
    cases_of_no_sweep: tuple[CaseView, ...]
    not_timed: tuple[NotTimed, ...]


def run_view(results: Results) -> RunView:
    """Return the view of a run."""
    cases = case_views(results)
    sweeps, others = sweeps_of(cases)
    return RunView(results, cases, sweeps, others, not_timed(results))
