"""The build of before the format gate, as a service and a command line, on the packages of this environment.

Its tree comes from the repository's own history. What it must be able to do beside the present build is in
docs/upgrading.md; a later build that is to be held against this one adds its commit here.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tests.fire.service import Service
from tests.numbering.process import without_settings
from tests.servers import Process, begun

__all__ = ["BEFORE_FORMATS", "Earlier", "ServiceOfEarlier"]

BEFORE_FORMATS = "19248891311a9b7b34e20bd465f4dc633991108e"
ROOT = Path(__file__).parents[2]
PACKAGES = ("ledger", "projections", "api", "replay", "numbering")
RUN_SECONDS = 60.0

MAIN = "from numbering.cli import main; main(prog_name='numbering')"
PLACES = f"import {', '.join(PACKAGES)}; print(*({', '.join(f'{name}.__file__' for name in PACKAGES)}), sep='\\n')"


class Earlier:
    """The tree of a commit in a directory, which runs with this environment's interpreter."""

    def __init__(self, commit: str, directory: Path) -> None:
        self.root = directory
        archived = subprocess.run(
            ["git", "-C", str(ROOT), "archive", commit, *PACKAGES, "ops"], capture_output=True, check=False
        )
        assert archived.returncode == 0, (
            f"the build of before cannot be run: this clone lacks commit {commit}. Fetch the whole history with "
            f"`git fetch --unshallow`, or `git fetch origin {commit}`. Git says: {archived.stderr.decode().strip()}"
        )
        with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as archive:
            archive.extractall(directory, filter="data")
        self.grants = directory / "ops" / "mariadb-grants.sql"
        self._check_it_is_loaded()

    def words(self, *words: str) -> list[str]:
        # -P: the directory in which it runs must not come before its own tree.
        return [sys.executable, "-P", "-c", MAIN, *words]

    def environment(self, **settings: str) -> Mapping[str, str]:
        return without_settings(**settings) | {"PYTHONPATH": str(self.root)}

    def run(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.words(*words),
            cwd=self.root,
            env=self.environment(**settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )

    def _check_it_is_loaded(self) -> None:
        """Look whether the packages are those of the tree, and not those of the environment."""
        words = [sys.executable, "-P", "-c", PLACES]
        loaded = subprocess.run(words, env=self.environment(), capture_output=True, text=True, check=True).stdout
        expected = [f"{self.root / name}{os.sep}__init__.py" for name in PACKAGES]
        assert loaded.split() == expected, f"another build was loaded: {loaded}"


class ServiceOfEarlier(Service):
    """`numbering serve` of an earlier build, with other `settings` as `Service` takes them."""

    def __init__(self, build: Earlier, database_url: str, **settings: Any) -> None:
        super().__init__(database_url, **settings)
        self._build = build

    def _begun(self, log: IO[bytes]) -> Process:
        words = self._build.words("serve", *(word for option in self._options.items() for word in option))
        return begun(words, cwd=self.directory, log=log, env=self._build.environment())
