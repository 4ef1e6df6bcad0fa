#!/usr/bin/env bash
# The whole gate, cheapest part first. Needs the tools of `pip install -e ".[dev]"` on the PATH
# (`make check` sees to that). Stops at the first part that fails.
set -euo pipefail
cd "$(dirname "$0")/.."

echo '== lint'
ruff check .
echo '== format'
ruff format --check .
echo '== types'
mypy
echo '== tests'
make test
