"""The coverage of intervals and verdicts on this machine, by measurements with known ratios."""
