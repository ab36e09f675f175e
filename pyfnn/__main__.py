"""`python -m pyfnn`: the same as the console command `pyfnn`."""

import sys

from pyfnn.cli import main

if __name__ == "__main__":
    sys.exit(main())
