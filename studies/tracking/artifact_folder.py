"""The artifacts of one study: in a folder, or in a store that fsspec knows. Symlinks are never followed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from reports.io.safe_paths import PART, make_folder, own_folder, refuse_link, write


class ArtifactFolder:
    """Files below one address, by their names relative to it."""

    def __init__(self, address: str) -> None:
        """Nothing is opened yet.

        Args:
            address: file://..., or of a store that fsspec knows (its package must be installed).
        """
        local = urlsplit(address).scheme in ("", "file")
        self._folder = Path(unquote(urlsplit(address).path)) if local else None
        self._address = address

    def files(self) -> dict[str, int]:
        """Name -> bytes of every file, in the order of their names; {} where there is no such folder.

        Raises:
            LinkInTheWay: the folder itself is a symbolic link.
        """
        return dict(sorted(self._files()))

    def read(self, name: str) -> bytes:
        """The content of one file."""
        if self._folder is not None:
            return (self._folder / name).read_bytes()
        store, root = self._store()
        return bytes(store.cat_file(f"{root}/{name}"))

    def write(self, name: str, content: bytes) -> None:
        """Writes one file, in place of an earlier one.

        Raises:
            ValueError: the name leads out of the folder, or through a symbolic link.
        """
        *above, last = name.split("/")
        if {"", ".", ".."} & {*above, last}:  # a store may follow them, too
            raise ValueError(f"'{name}' cannot be the name of a file")
        if self._folder is not None:
            make_folder(self._folder.parent)
            write(own_folder(self._folder.parent, self._folder.name, *above) / last, content)
            return
        store, root = self._store()
        store.makedirs("/".join([root, *above]), exist_ok=True)
        store.pipe_file(f"{root}/{name}", content)

    def remove(self) -> int:
        """Removes the folder with all that is in it; bytes that were freed. What is gone already is fine."""
        freed = sum(self.files().values())
        if self._folder is not None:
            if self._folder.is_dir():
                shutil.rmtree(self._folder)
            return freed
        store, root = self._store()
        if store.exists(root):
            store.rm(root, recursive=True)
        return freed

    def _files(self) -> Iterator[tuple[str, int]]:
        if self._folder is None:
            store, root = self._store()
            found = store.find(root, detail=True) if store.exists(root) else {}
            yield from ((path.removeprefix(f"{root}/"), int(info["size"])) for path, info in found.items())
            return
        refuse_link(self._folder)
        for place, _, names in os.walk(self._folder, followlinks=False):
            for file in (Path(place) / name for name in names):
                if file.is_file() and not file.is_symlink() and not file.name.endswith(PART):
                    yield file.relative_to(self._folder).as_posix(), file.stat().st_size

    def _store(self) -> tuple[Any, str]:
        import fsspec

        store, root = fsspec.core.url_to_fs(self._address)
        store.invalidate_cache()
        return store, str(root).rstrip("/")
