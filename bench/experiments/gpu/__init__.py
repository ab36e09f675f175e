"""One run of everything that only an NVIDIA GPU can show, in less than nine minutes: python -m bench.experiments.gpu.

`__main__`, `plan`, `bounded` and `summary` need nothing but Python's standard library, because they also install the
rest; the other files are what the plan's steps run. docs/cuda.md has the instructions.
"""
