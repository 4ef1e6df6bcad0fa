"""What the evidence says: questions, comparisons, verdicts, defaults, pages.

Nothing is imported here, so that a worker which needs one dataclass does not load statistics and drawing.
"""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "search_spaces" / "precedence.py"))["claim"](__name__)
