"""An alias of `bench.experiments.cliffs`, under its earlier name."""

import sys

from bench.experiments.cliffs import main

if __name__ == "__main__":
    sys.exit(main())
