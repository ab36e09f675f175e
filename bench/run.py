"""The command `python -m bench.run`: checks and times backends, then writes results and report.

`bench.stages` does so. Here are the arguments and the errors, so that --help and a mistyped option answer at once.
"""

import sys
from collections.abc import Sequence

from bench import unexpected
from bench.arguments import parsed
from bench.interruption import Interruptions, status_of
from bench.results.files import CannotWrite
from bench.terminal import console as terminal
from pyfnn.errors import PyfnnError

USAGE_ERROR = 2  # exit status; docs/running.md has all


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns
    -------
    int
        Exit status: 0; 1 where no backend was timed, or the results cannot be written; 2 for wrong arguments; after a
        signal, 128 and its number.
    """
    console, errors = terminal(), terminal("stderr")
    try:
        with Interruptions() as signals:
            arguments = parsed(argv)
            from bench import stages  # a third of a second of imports that --help need not take

            return stages.run(arguments, console, signals)
    except PyfnnError as error:
        errors.print(f"pyfnn: {error}", soft_wrap=True)
        return USAGE_ERROR
    except CannotWrite as error:
        errors.print(f"pyfnn: cannot write results: {error}", soft_wrap=True)
        return 1
    except OSError as error:
        errors.print(f"pyfnn: {error}", soft_wrap=True)
        return 1
    except Exception as error:  # noqa: BLE001
        errors.print(unexpected.report("pyfnn", sys.argv[1:] if argv is None else argv, error), soft_wrap=True)
        return 1
    except KeyboardInterrupt as error:
        return status_of(error)


if __name__ == "__main__":
    sys.exit(main())
