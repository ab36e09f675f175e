"""The earlier name of `bench.experiments.cliffs`, kept as an alias."""

import sys

from bench.experiments.cliffs import main

if __name__ == "__main__":
    sys.exit(main())
