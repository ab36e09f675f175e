"""The intervals and verdicts, tried against known truths on this machine."""
