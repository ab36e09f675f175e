#!/usr/bin/env bash
# Measures the working tree against another revision, in turns, and writes the table as Markdown.
# usage: docs/ci/compare.sh REV TABLE.md [options of bench.run]
# Exit status: that of bench.compare: 1 where a backend is slower by more than $FAIL_OVER (5%), 2 where nothing could be
# compared.
set -euo pipefail
revision=${1:?usage: compare.sh REV TABLE.md [options of bench.run]}
table=${2:?usage: compare.sh REV TABLE.md [options of bench.run]}
shift 2
[ $# -gt 0 ] || set -- --suite quick --budget 600
exec python -m bench.compare --against "$revision" --fail-over "${FAIL_OVER:-5%}" --markdown "$table" -- "$@"
