"""Experiments on the harness, on backends and on the mathematics; each is a command, python -m bench.experiments.NAME.

No experiment writes the results of `bench.run`.
"""
