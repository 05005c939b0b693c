"""Removing what untrusted code made: folders of any depth, modes and kinds, and what is still being written.

`gate` and `git` both give folders to code that nobody has read, and both take them away again.
"""

import itertools
import logging
import os
import stat
import tempfile
import time
from pathlib import Path

_log = logging.getLogger(__name__)
_TRIES, _BETWEEN_TRIES_S = 5, 0.02
_NUMBERS = itertools.count()


def remove(place: Path, scratch: Path) -> None:
    """Remove whatever stands at a path, without following it, however deep it goes and whatever its modes are.

    Folders are first moved to `scratch`, a folder on the same file system, one by one, so neither the recursion nor the
    length of a path can grow. Raises OSError, for instance when something new is written there at the same time; what
    has been moved stays in `scratch` then.
    """
    if not stat.S_ISDIR(place.lstat().st_mode):
        place.unlink()
        return
    pending = [_set_aside(place, scratch)]
    while pending:
        folder = pending.pop()
        for entry in listed(folder):
            if entry.is_dir(follow_symlinks=False):
                pending.append(_set_aside(Path(entry.path), scratch))
            else:
                Path(entry.path).unlink()
        folder.rmdir()


def discard(place: Path) -> bool:
    """Remove a path as far as that can be done, and return whether nothing is left; what is left is logged, not raised.

    A folder is made beside it for the time of the removal.
    """
    pending = [place]
    for number in range(_TRIES):
        time.sleep(number * _BETWEEN_TRIES_S)
        try:
            pending = [path for path in pending if os.path.lexists(path)]
            aside = Path(tempfile.mkdtemp(prefix=".removing-", dir=place.parent))
            pending.append(aside)
            for path in pending[:-1]:
                remove(path, aside)
            aside.rmdir()
        except OSError as error:
            _log.debug("removing %s once more: %s", place, error)
        else:
            return True
    _log.warning("could not remove %s: something still writes there, or has locked it", place)
    return False


def listed(folder: Path | str) -> list[os.DirEntry[str]]:
    """The entries of a folder."""
    with os.scandir(folder) as entries:
        return list(entries)


def _set_aside(folder: Path, scratch: Path) -> Path:
    folder.chmod(0o700)
    return folder.rename(scratch / f"removed-{next(_NUMBERS)}")
