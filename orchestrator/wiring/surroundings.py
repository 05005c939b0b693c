"""What the program finds around it: the environment, and where runs, configurations and skills are looked for."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.journal.store import RunStore

STORE = ".orchestrate"
STORE_VARIABLE = "ORCHESTRATE_STORE"
_LOCALE = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The caller's environment and folder. Nothing else in the program looks at either."""

    env: Mapping[str, str]
    cwd: Path

    @classmethod
    def found(cls) -> "Surroundings":
        """Read them from the process."""
        return cls(dict(os.environ), Path.cwd())  # noqa: TID251 — the one place where the environment is read

    @property
    def path(self) -> str:
        """Where commands are looked for."""
        return self.env.get("PATH", os.defpath)

    @property
    def locale(self) -> Mapping[str, str]:
        """The variables of language and time zone, for commands of a gate."""
        return {name: self.env[name] for name in _LOCALE if name in self.env}

    def store(self, chosen: Path | None = None) -> RunStore:
        """Where runs are kept: as chosen, else as the environment says, else at the top of the checkout, else here."""
        if chosen is not None:
            return RunStore(chosen.absolute())
        if named := self.env.get(STORE_VARIABLE):
            return RunStore(self.cwd / named)
        for folder in (self.cwd, *self.cwd.parents):
            if (folder / ".git").exists():
                return RunStore(folder / STORE)
        return RunStore(self.cwd / STORE)

    def config_folders(self, near: Path) -> Sequence[Path]:
        """Where `--backend NAME` is looked for: beside the task, in this folder, then what is shipped."""
        return _existing(near / "configs", near.parent / "configs", self.cwd / "configs", shipped("configs"))

    def skill_folders(self, near: Path) -> Sequence[Path]:
        """Where skills are looked for: the project's before what is shipped."""
        return _existing(near / "skills", near.parent / "skills", self.cwd / "skills", shipped("skills"))


def shipped(name: str) -> Path:
    """Where a folder that comes with the program is: in the package when installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / "share" / name
    return installed if installed.is_dir() else package.parent / name


def _existing(*folders: Path) -> Sequence[Path]:
    return list(dict.fromkeys(folder.resolve() for folder in folders if folder.is_dir()))
