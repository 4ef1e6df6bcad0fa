"""A user's machine: another process, another home, and of the cluster no more than its address and token."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.blackbox.program import Ran, invoked
from tests.surroundings import of_this_machine

ROOT = Path(__file__).parents[2]


class Client:
    """One user with a workspace of their own and a site file in it."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        site: Mapping[str, str],
        secrets: Mapping[str, str],
        apart: bool = True,
    ) -> None:
        """Makes home, workspace and site file.

        Args:
            folder: where the home is made.
            name: of the user.
            site: keys of the site file but for those of secrets.
            secrets: key of the site file (`cluster_token_file`) -> the secret that goes into such a file.
            apart: commands run in processes of their own; False: where the environment is the same, in
                this one, which is faster.
        """
        self.name = name
        self.apart = apart
        self.home = folder / name
        self.workspace = self.home / "workspace"
        self.workspace.mkdir(parents=True)
        said = dict(site)
        for key, secret in secrets.items():
            file = self.home / key
            file.touch(mode=0o600)
            file.write_text(f"{secret}\n", encoding="utf-8")
            said[key] = str(file)
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in said.items())
        if lines:
            (self.workspace / "site.yaml").write_text(lines, encoding="utf-8")

    def environment(self, **more: str) -> dict[str, str]:
        """A plain shell's: nothing of the cluster's is in it."""
        paths = ":".join(filter(None, (more.pop("PYTHONPATH", ""), str(ROOT))))
        user = {"HOME": str(self.home), "USER": self.name, "LOGNAME": self.name}
        plain = {**of_this_machine(), "PATH": "/usr/local/bin:/usr/bin:/bin"}
        return {**plain, "PYTHONPATH": paths, **user, **more}

    def start(
        self, *arguments: str | Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Starts a command in this user's workspace."""
        words = [*map(str, arguments), "--workspace", str(self.workspace)]
        return subprocess.Popen(
            [sys.executable, "-m", "studies.cli", *words],
            cwd=self.home,
            env=self.environment(**(environment or {})),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self,
        *arguments: str | Path,
        expect: int | None = 0,
        timeout: float = 300,
        environment: Mapping[str, str] | None = None,
    ) -> Ran:
        """Runs a command to its end; AssertionError with all it said unless its exit code is `expect`.

        Args:
            arguments: as typed, but for the workspace.
            expect: None allows any exit code.
            timeout: seconds after which it is killed.
            environment: variables besides those of a plain shell.
        """
        if not (self.apart or environment):
            ran = invoked(*arguments, workspace=self.workspace)
            assert expect in (None, ran.code), f"{arguments} ended with {ran.code}, not {expect}:\n{ran.said}"
            return ran
        process = self.start(*arguments, environment=environment)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"{arguments}: no end after {timeout} s\n{out}\n{err}") from None
        ran = Ran(code=process.returncode, out=out, err=err)
        if expect is not None:
            assert ran.code == expect, f"{arguments} ended with {ran.code}, not {expect}:\n{ran.said}"
        return ran

    def told(self, *arguments: str | Path) -> Any:
        """What a command answers to `--json`."""
        return json.loads(self.run(*arguments, "--json").out)

    def results(self, study: str) -> str:
        """Every evaluation of a study, one line each."""
        return self.run("results", study, "--format", "csv").out

    def pages(self, study: str) -> dict[str, bytes]:
        """The report's files, written anew."""
        self.run("report", study)
        folder = self.workspace / "reports" / study
        return {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
