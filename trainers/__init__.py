"""Training: tasks, networks, one member and packs of them."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "search_spaces" / "precedence.py"))["claim"](__name__)
