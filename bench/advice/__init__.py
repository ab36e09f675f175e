"""Advice: the warnings about the machine and about a finished run, each with a remedy. docs/warnings.md lists them."""
