"""The worker's side of Ray: trains one pack after the other in one process, and idles between them."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from studies.execution.pack_payload import answer_order
from studies.site import SECRETS

REST = "rest"
"""The order that is none."""
REST_SECONDS = (0.02, 0.25)
"""A worker without a pack looks again after the first of these, then less and less often."""


class PackTrainer:
    """The worker's side: trains one pack per step, then serves the next trial in the same process."""

    def setup(self, config: dict[str, Any]) -> None:
        for key in ("ledger_password_file", "tracking_password_file"):
            os.environ.pop(SECRETS[key], None)  # workers need no store, and run the code of task files
        self._order: str = config["order"]
        self._rest = REST_SECONDS[0]
        self._spoiled = False

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """The answer to the order; then rest, until the trial is ended."""
        if self._order == REST:
            time.sleep(self._rest)
            self._rest = min(2 * self._rest, REST_SECONDS[1])
            return {"rest": True}
        answer = self.answered(self._order)
        self._order = REST
        return {"answer": answer, "spoiled": self._spoiled}

    def answered(self, order: str) -> str:
        """What goes back to the driver for an order."""
        answer = answer_order(json.loads(order))
        self._spoiled = bool(answer.get("spoiled"))
        return json.dumps(answer)
