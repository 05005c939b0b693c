"""Which writes are refused: the quick look at a change, against the thorough rules."""

import asyncio
import threading

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.paths import UnsafePath, collisions
from orchestrator.git import workspace
from orchestrator.git.repository import Entry
from orchestrator.git.workspace import BlobWorkspace, refuse_unsafe

FILE = Entry("100644", "b" * 40)
LINK = Entry("120000", "b" * 40)
NAMES = ["a", "A", "b", "é", "e\u0301", "É", "ss", "ß", "a-b", "ab", "K", "\u212a"]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
CHANGES = st.dictionaries(PATHS, st.sampled_from([b"x", None]), max_size=4)


def thorough(entries, written, files):
    """The rules without a quick look: what is refused, in words, or None."""
    for path in files:
        if path in entries and not entries[path].is_regular:
            return f"{path!r} is a symbolic link or a submodule: change the file that it stands for"
    overlay = {**written, **files}
    new = {path for path, content in overlay.items() if content is not None and path not in entries}
    if not new:
        return None
    after = {path for path in entries if overlay.get(path, b"") is not None} | new
    folders = {path[:at] for path in after for at, char in enumerate(path) if char == "/"}
    for path in sorted(after & folders):
        return f"{path!r} cannot be a file and a folder at once"
    for one, other in sorted(set(collisions(after)) - set(collisions(entries))):
        return f"{other!r} differs from {one!r} only in case or spelling: choose another name"
    return None


def refusal(entries, written, files):
    try:
        refuse_unsafe(entries, written, files)
    except UnsafePath as refused:
        return str(refused)
    return None


@st.composite
def listings(draw):
    """What a git tree can hold: no path is a file and a folder at once."""
    paths = draw(st.sets(PATHS, max_size=8))
    folders = {path[:at] for path in paths for at, char in enumerate(path) if char == "/"}
    return {path: draw(st.sampled_from([FILE, FILE, LINK])) for path in sorted(paths - folders)}


@given(listings(), CHANGES, CHANGES)
def test_the_quick_look_refuses_what_the_thorough_rules_refuse_and_nothing_else(entries, written, files):
    assert refusal(entries, written, files) == thorough(entries, written, files)


def test_a_new_file_in_a_repository_of_many_needs_no_look_at_each(monkeypatch):
    entries = {f"src/part{n % 50}/module{n}.py": FILE for n in range(20_000)}
    monkeypatch.setattr(workspace, "collisions", None)
    refuse_unsafe(entries, {}, {"src/part3/new.py": b"x", "src/other/new.py": b"x", "src/part3/module3.py": None})


class Listed:
    """A repository that notes which thread asks it."""

    def __init__(self):
        self.threads = set()

    def entries(self, commit):
        self.threads.add(threading.current_thread())
        return {"a.py": FILE}


def test_names_are_judged_beside_the_event_loop(monkeypatch):
    judged_in = []
    real = workspace.refuse_unsafe
    monkeypatch.setattr(
        workspace, "refuse_unsafe", lambda *told: (judged_in.append(threading.current_thread()), real(*told))
    )
    asyncio.run(BlobWorkspace(Listed(), "base").write({"b.py": b"x"}))
    assert judged_in
    assert threading.main_thread() not in judged_in
