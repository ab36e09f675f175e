"""The planted slowdown of a case: a copy of one of its backends, slower by a known share. Starts no process."""

from collections.abc import Sequence
from pathlib import Path

from bench.measure.arm import Arm
from bench.suites.suite import CaseKey
from pyfnn.manifest import Row, read_manifest

_MANIFEST = Path(__file__).with_name("slowed.toml")


def planted_arm(key: CaseKey, rows: Sequence[Row], reference: str) -> Arm | None:
    """Return an arm that is a slowed copy of a backend: of the reference, or else of the first that has a copy.

    None where no backend has one. The slowdown is a share of the CPU time of one thread; of many networks at once, the
    copy would train one after the other, and its original may not.
    """
    if key.threads != 1 or key.workload.members > 1:
        return None
    names = [row.name for row in rows]
    copies = {
        copied: (row, int(percent) / 100) for row in read_manifest(_MANIFEST) for copied, percent in [_parts(row)]
    }
    found = next((name for name in (reference, *names) if name in names and name in copies), None)
    if found is None:
        return None
    row, slowdown = copies[found]
    return Arm(row, row.name, copy_of=found, slowdown=slowdown)


def _parts(row: Row) -> tuple[str, str]:
    """Return the name of the copied backend and the percent: see `bench.measure.slowed`."""
    copied, _, percent = row.name.rsplit("-", 2)
    return copied, percent
