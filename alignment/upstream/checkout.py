"""A folder that the user says is a checkout of an original; it is read, never written."""
from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from alignment.upstream.originals import Original


@dataclass(frozen=True)
class Checkout:
    """``commit`` is None where git cannot tell; ``changed`` says that its Python files differ."""

    original: Original
    folder: Path
    commit: str | None
    changed: bool

    @classmethod
    def read(cls, original: Original, folder: str | Path) -> Checkout:
        """Look whether the folder is what it should be.

        Raises:
            FileNotFoundError: if the folder or one of the original's files is absent.
        """
        folder = Path(folder).expanduser().resolve()
        clone = f"git clone https://github.com/{original.repository} {folder}"
        if not folder.is_dir():
            raise FileNotFoundError(f"--checkout {folder}: no such folder; get one with: {clone}")
        absent = [name for name in original.files if not (folder / name).is_file()]
        if absent:
            inside = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
            raise FileNotFoundError(
                f"--checkout {folder} is no checkout of {original.repository}: {absent[0]} is missing; the folder "
                f"holds {inside}. Name the repository's top folder, or get one with: {clone}")
        commit = _git(folder, "rev-parse", "HEAD") if _is_top(folder) else None
        changed = bool(commit and _git(folder, "status", "--porcelain", "--untracked-files=no", "--", "*.py"))
        return cls(original, folder, commit, changed)

    @property
    def expected(self) -> bool:
        """Whether it is exactly the commit that our networks were written against."""
        return self.commit == self.original.commit and not self.changed

    def tell(self) -> str:
        """Which code is about to run, in a line or two."""
        where = f"{self.original.repository} in {self.folder}"
        if self.commit is None:
            return (f"{where}: commit unknown (the folder is no git checkout, or git is absent); "
                    f"ours follows {self.original.commit}")
        local = " with changed .py files" if self.changed else ""
        if self.commit == self.original.commit:
            return f"{where}: commit {self.commit}{local}, the one that ours follows"
        return (f"{where}: commit {self.commit}{local}, NOT {self.original.commit}, which ours follows: "
                "a difference below may be a change of the original")

    @property
    def short(self) -> str:
        """For a report."""
        return f"{self.original.repository} {(self.commit or 'unknown')[:10]}{'+changes' if self.changed else ''}"


def _is_top(folder: Path) -> bool:
    """A folder inside another repository would name that repository's commit."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    return top is not None and Path(top).resolve() == folder


def _git(folder: Path, *words: str) -> str | None:
    command = ["git", "--no-optional-locks", "-c", "safe.directory=*", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
