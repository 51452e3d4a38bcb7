"""Print the page: `python -m tests.faults > tests/FAULTS.md`, or `make faults`."""

from __future__ import annotations

import sys

from tests.faults.catalogue import ROWS
from tests.faults.page import TESTS, marked, page

if __name__ == "__main__":
    sys.stdout.write(page(ROWS, marked(TESTS)))
