"""Which paths a glob means. One dialect for the whole program: task files, the gate, the prompt, the stub.

    *        any characters of one path component; never `/`; a leading dot is nothing special
    ?        one such character
    [abc]    one of these; `[*]` is a literal star
    **       any number of components, none included, where it stands as a component of its own
    dir/     everything below `dir`, at any depth

Paths are POSIX paths relative to the root of the repository, without a leading `./` or `/`. A pattern that is equal to
a path always matches it, so that `app/[slug]/page.tsx` can be written as it is. Matching is case-sensitive on every
system. Braces, `!` and `~` are not special; `problem_in` says in plain words what to write instead.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import lru_cache

from wcmatch import glob

_FLAGS = glob.FORCEUNIX | glob.GLOBSTAR | glob.DOTGLOB
_MAGIC = re.compile(r"[*?\[]")
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_WILDCARDS = re.compile(r"\*+")
# A regular expression with k wildcards takes up to n^k steps on a path of n characters; patterns also come from models.
_MAX_WILDCARDS = 6
_MAX_LENGTH = 1_000


def _whole(pattern: str) -> str:
    return f"{pattern}**" if pattern.endswith("/") else pattern


@lru_cache(maxsize=4_096)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str] | None:
    """One regular expression for all patterns that are more than a path (those are compared); None without any."""
    globs = [_whole(pattern) for pattern in patterns if not is_literal(pattern)]
    sources = [source for pattern in globs for source in glob.translate(pattern, flags=_FLAGS)[0]]
    return re.compile("|".join(f"(?:{source})" for source in sources)) if sources else None


def is_literal(pattern: str) -> bool:
    """Whether the pattern can only mean the one path that it spells."""
    return not pattern.endswith("/") and _MAGIC.search(pattern) is None


def escape(text: str) -> str:
    """Return a pattern that means exactly this text."""
    return _MAGIC.sub(lambda found: f"[{found.group()}]", text)


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Whether any of the patterns means this path."""
    if path in patterns:
        return True
    expression = _compiled(tuple(patterns))
    return expression is not None and expression.match(path) is not None


def select(paths: Iterable[str], patterns: Sequence[str], exclude: Sequence[str] = ()) -> list[str]:
    """Return the paths that a pattern means and no `exclude` pattern means, in the order given."""
    wanted, unwanted = _compiled(tuple(patterns)), _compiled(tuple(exclude))
    spelled, refused = frozenset(patterns), frozenset(exclude)
    return [
        path
        for path in paths
        if (path in spelled or (wanted is not None and wanted.match(path)))
        and not (path in refused or (unwanted is not None and unwanted.match(path)))
    ]


def select_sorted(paths: Sequence[str], pattern: str) -> list[str]:
    """Return what one pattern means among *sorted* paths, looking only at those that begin as the pattern does.

    Ten thousand subtasks with a pattern each over ten thousand paths stay far from 10^8 comparisons.
    """
    magic = _MAGIC.search(pattern)
    prefix = pattern[: magic.start()] if magic else pattern
    found = []
    for index in range(bisect_left(paths, prefix), len(paths)):
        if not paths[index].startswith(prefix):
            break
        found.append(paths[index])
    return select(found, (pattern,)) if found else []


def problem_in(pattern: str) -> str | None:
    """Say what is wrong with a path or glob, and what to write instead; None when it is fine."""
    if not pattern or not pattern.strip():
        return "is empty; write a path, or `**` for every file"
    return _place_problem(pattern) or _syntax_problem(pattern)


def _place_problem(pattern: str) -> str | None:
    parts = pattern.split("/")
    if pattern.startswith("/"):
        return "is absolute; write it relative to the root of the repository"
    if "\\" in pattern:
        return "has a backslash; write `/` between folders, and `[*]` for a literal star"
    if ".." in parts:
        return "leads out of its folder by `..`; write the path from the root of the repository"
    if "." in parts or "" in parts[:-1]:
        return "has an empty or `.` component; write it without `./` and `//`"
    if ".git" in (part.lower() for part in parts):
        return "names git's own folder, which no task may touch; take it out"
    return None


def _syntax_problem(pattern: str) -> str | None:
    if pattern.startswith("!"):
        return "begins with `!`, which is not supported; use `exclude`, or name what you want"
    if re.search(r"\{[^{}]*,[^{}]*\}", pattern):
        return "has braces, which are not expanded; write one pattern for each alternative"
    if _NO_TEXT.search(pattern):
        return "has a control character or one that is not Unicode text; take it out"
    if len(_WILDCARDS.findall(pattern)) > _MAX_WILDCARDS:
        return f"has more than {_MAX_WILDCARDS} wildcards; write several simpler patterns"
    if len(pattern) > _MAX_LENGTH:
        return f"is longer than {_MAX_LENGTH} characters; shorten it"
    return None
