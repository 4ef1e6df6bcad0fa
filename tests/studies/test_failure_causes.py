"""Causes in a line, what failures have in common, and streams that hold: without a program around them."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from search_spaces.space import complete
from studies.execution.common_cause import CommonCause
from studies.execution.failure_causes import cause_of, first_line, reason_of
from studies.ledger.contract import LedgerLost
from studies.ledger.rows import Attempt, still_abandoned
from studies.packing import probes
from studies.process_setup import TolerantStream
from tests.studies.planted import agenda_of, started, train
from trainers.tasks.network_contract import build, check_outputs
from trainers.tasks.user_tasks import load_user_tasks

RAISED = "ValueError: 3 x 4 does not fit (tasks.py, line 7)"


def test_a_cause_is_masked_and_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDRULES_LEDGER_PASSWORD", "hunter2hunter2")
    cause = cause_of(
        RuntimeError("postgresql://me:secret@host hunter2hunter2\n\x1b[2J\u202e" + "x" * 3000 + "end")
    )
    assert cause.startswith("RuntimeError: postgresql://me:...@host ... <U+001B>[2J<U+202E>")
    assert cause.endswith("end") and len(cause) < 500


def test_an_exception_that_cannot_say_what_it_is_has_a_cause_too() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    assert "Mute: (its message cannot be shown: ZeroDivisionError)" in cause_of(Mute())
    assert cause_of(SystemExit()) == "SystemExit"


def test_the_place_is_in_the_users_file(tmp_path: Path) -> None:
    file = tmp_path / "tasks.py"
    file.write_text(
        "import json\nimport numpy as np\nfrom trainers.tasks.task import Task\n"
        "def network(inputs, outputs, config):\n    return json.loads('{')\n"
        "def mine():\n    x = np.random.default_rng(0).normal(size=(60, 2))\n"
        "    y = np.arange(60) % 2\n"
        "    return Task.from_arrays(x, y, kind='classification', name='mine', network=network)\n"
        "TASKS = [mine]\n",
        encoding="utf-8",
    )
    network = load_user_tasks(file)["mine"]().network
    assert callable(network)
    with pytest.raises(ValueError, match="Expecting property name") as caught:
        network(2, 2, None)  # type: ignore[arg-type]
    assert cause_of(caught.value).endswith("(tasks.py, line 5)")


def test_what_a_network_raises_is_alike_in_training_and_when_it_is_tried_before(tmp_path: Path) -> None:
    """One that fails after some calls fails in training at first, and from then on when it is tried."""
    file = tmp_path / "tasks.py"
    file.write_text(
        "import numpy as np\nfrom torch import nn\nfrom trainers.tasks.task import Task\n"
        "class Tired(nn.Linear):\n    def forward(self, x):\n        raise ValueError('I am tired')\n"
        "def mine():\n    x = np.random.default_rng(0).normal(size=(60, 2))\n"
        "    y = np.arange(60) % 2\n    network = lambda i, o, c: Tired(i, o)\n"
        "    return Task.from_arrays(x, y, kind='classification', name='mine', network=network)\n"
        "TASKS = [mine]\n",
        encoding="utf-8",
    )
    task, config = load_user_tasks(file)["mine"](), complete({})
    module = build(task.network, config, task, seed=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^I am tired") as raw:
        module(torch.zeros(1, 2))
    with pytest.raises(ValueError, match="its network fails on items") as reported:
        check_outputs(module, config, task)
    assert cause_of(reported.value) == cause_of(raw.value) == "ValueError: I am tired (tasks.py, line 6)"
    assert reason_of("error", cause_of(reported.value)) == reason_of("error", cause_of(raw.value))


def test_reasons_are_alike_whatever_the_numbers_in_a_message() -> None:
    assert reason_of("error", RAISED) == reason_of("error", RAISED.replace("3 x 4", "a much other shape"))
    assert reason_of("error", RAISED) != reason_of("error", RAISED.replace("line 7", "line 8"))
    assert reason_of("error", RAISED) != reason_of("error", RAISED.replace("Value", "Type"))
    assert reason_of("timeout", "no answer after 61 s") == reason_of("timeout", "no answer after 900 s")


def test_an_old_cause_is_told_by_its_last_line() -> None:
    assert first_line("Traceback (most recent call last):\n  File x\nValueError: no\n") == "ValueError: no"
    assert first_line(f"{RAISED}\nTraceback (most recent call last):\n  File x\n") == RAISED
    assert first_line("") == ""


def failing(workspace: Path, *, spare: int = 0) -> tuple[int, bool]:
    """Failed attempts, and whether the run was in vain: all fails alike but for so many packs at first."""
    ledger, fixed = started(workspace)
    agenda, failed = agenda_of(ledger, fixed), 0
    while (pack := agenda.next_pack()) is not None:
        if spare > 0:
            train(agenda, pack)
            spare -= 1
        elif pack.phase == "pilot":
            agenda.fail(pack, RAISED.replace("3", str(failed)), kind="error")
            failed += 1
        else:
            train(agenda, pack)
    assert agenda.done
    return failed, agenda.failures.common.certain


def test_a_run_in_which_all_fails_alike_ends(tmp_path: Path) -> None:
    assert failing(tmp_path / "w") == (5, True)


def test_nothing_is_in_vain_once_a_pack_was_trained(tmp_path: Path) -> None:
    failed, in_vain = failing(tmp_path / "w", spare=1)
    assert failed > 10 and not in_vain


def test_one_member_that_fails_alone_is_not_all(tmp_path: Path) -> None:
    ledger, fixed = started(tmp_path / "w")
    pack = agenda_of(ledger, fixed).next_pack()
    assert pack is not None
    first, last, *_ = probes(pack)
    assert [len(part.members) for part in probes(pack)] == [1, 1, len(pack.members) - 2]
    common = CommonCause()
    for _ in range(3):
        common.failed(first, "error", RAISED)
    common.given_up()
    seen = [(common.pressing, common.certain)]
    common.failed(last, "error", RAISED)
    common.given_up()
    seen.append((common.pressing, common.certain))
    common.failed(last, "error", "TypeError: another (tasks.py, line 7)")
    seen.append((common.pressing, common.certain))
    assert seen == [(True, False), (True, True), (False, False)]


def test_a_pack_is_given_up_until_its_members_are_there() -> None:
    row = {"pack": "p", "worker": "", "seconds": 0.0, "at_ms": 0}
    attempts = [
        Attempt(kind="error", slot="", cause="not this", **row),  # type: ignore[arg-type]
        Attempt(kind="given_up", slot="a", cause="first", **row),  # type: ignore[arg-type]
        Attempt(kind="given_up", slot="a", cause="again", **row),  # type: ignore[arg-type]
        Attempt(kind="given_up", slot="", cause="of old", **row),  # type: ignore[arg-type]
        Attempt(kind="given_up", slot="b", cause="other", **row),  # type: ignore[arg-type]
    ]
    assert still_abandoned(attempts, ()) == ("again", "other")
    assert still_abandoned(attempts, {"a"}) == ("other",)


def test_standard_error_never_fails() -> None:
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object, /) -> int:
            raise OSError(28, "No space left on device")

    stream = TolerantStream(
        io.BufferedWriter(Full()), encoding="ascii", errors="backslashreplace", line_buffering=True
    )
    for _ in range(3):
        assert stream.write("lost ß\n") == 7
        stream.flush()
    stream.detach()


def test_missing_streams_are_given_to_the_null_device(tmp_path: Path) -> None:
    script = (
        "import sys; sys.argv[0] = 'groundrules'; import os, studies.process_setup\n"
        "print('lost'); sys.stderr.write('lost')\n"
        "found = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)\n"
        "os.write(found, b'%d' % found)\n"
        "assert sys.stdin.read() == '' and all(map(os.get_inheritable, (0, 1, 2)))"
    )
    file = tmp_path / "number"
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" "$2" <&- >&- 2>&-', sys.executable, script, str(file)],
        cwd=Path(__file__).parents[2], check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert int(file.read_text()) > 2


def test_a_ledger_that_is_gone_takes_no_more(tmp_path: Path) -> None:
    ledger, fixed = started(tmp_path / "w")
    agenda = agenda_of(ledger, fixed)
    pack, other = agenda.next_pack(), agenda.next_pack()
    assert pack is not None and other is not None
    train(agenda, pack)
    (tmp_path / "w").rename(tmp_path / "elsewhere")
    with pytest.raises(LedgerLost, match="deleted or moved while the study was running"):
        train(agenda, other)
