"""Statistics as pure functions: intervals, verdicts, stopping."""
