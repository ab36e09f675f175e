"""Experiments that need only a `Model`: each a command, `python -m bench.experiments.NAME`. None of them is timed."""
