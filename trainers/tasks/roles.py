"""What a task may be used for, settled before any run and never moved by a result."""

from __future__ import annotations

from typing import Literal

Role = Literal["development", "race", "external"]
"""'development': with too few test items to be evidence, for trying things out. 'race': what verdicts
rest on. 'external': never looked at before the verdicts are frozen, which are then checked on it.

All tasks of a family have one role. The rule by which the roles were given, before any of them was run:

1. wine, breast_cancer and diabetes, with fewer than `task_report.RACED_FROM` test items, are for development;
2. the families of the quickstart study are raced, since they have been seen while this was being built;
3. the others, in alphabetical order of family, alternate between race and external, beginning with race:
   once through the real tables, once through the generated families.

A family that is added later gets the role that would keep them alternating; it moves no other.
"""
