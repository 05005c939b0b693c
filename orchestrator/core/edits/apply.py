"""Edits onto files: all of them or none, and never a guess between two places.

Where an edit belongs is found by `core.edits.locate`. Lines of the file that an edit only quotes stay as they are in the
file, even where the quotation was inexact; a file that is written whole keeps its byte-order mark, its line endings and
its missing final newline, and the same text again is no change.

What does not fit is told in words for the model: which edit, the nearest lines of the file with their numbers, and that
nothing was applied. The caller, `backends.sessions.editing`, writes the result all at once.
"""

import difflib
from collections.abc import Mapping, Sequence

from orchestrator.core.edits.blocks import Edit, EditError
from orchestrator.core.edits.lines import Document, is_binary
from orchestrator.core.edits.locate import BLOCK_TERMS, DoesNotFitError, Terms, find, line_below, replacement
from orchestrator.core.edits.whole import first_elision

MAX_FEEDBACK_CHARS = 3_000
_MAX_PROBLEMS = 3
_MAX_LINE_CHARS = 160

_Files = Mapping[str, bytes]


def apply_edits(edits: Sequence[Edit], files: _Files, terms: Terms = BLOCK_TERMS) -> dict[str, bytes | None]:
    """Apply edits in their order; return the files that differ from `files` afterwards, None for a removed one.

    Raises `EditError` (`edit_does_not_apply`) if any edit does not fit; `files` is never changed. `terms` are the words
    that its feedback uses.
    """
    documents: dict[str, Document | None] = {}
    problems: list[str] = []
    for number, edit in enumerate(edits, start=1):
        for path in edit.paths:
            if path not in documents:
                documents[path] = _opened(files.get(path))
        try:
            if edit.new_path:
                _move(edit, documents, files)
            else:
                documents[edit.path] = _applied(edit, documents[edit.path], files, terms)
        except DoesNotFitError as problem:
            problems.append(f"{terms.edit.capitalize()} {number} of {len(edits)} ({edit.path}): {problem}")
    if problems:
        raise EditError("edit_does_not_apply", _report(problems, len(edits), terms))
    after = {path: None if document is None else document.content for path, document in documents.items()}
    return {path: content for path, content in after.items() if content != files.get(path)}


def _opened(content: bytes | None) -> Document | None:
    return None if content is None else Document.of(content)


def _report(problems: Sequence[str], count: int, terms: Terms) -> str:
    shown = list(problems[:_MAX_PROBLEMS])
    if len(problems) > len(shown):
        shown.append(f"({len(problems) - len(shown)} more {terms.edit}s do not fit.)")
    head = "Nothing was applied" + (f": of {count} {terms.edit}s, {len(problems)} did not fit." if count > 1 else ".")
    return "\n".join((head, *shown))[:MAX_FEEDBACK_CHARS]


def _move(edit: Edit, documents: dict[str, Document | None], files: _Files) -> None:
    document, target = documents[edit.path], documents[edit.new_path]
    if document is None:
        raise DoesNotFitError("there is no such file to move." + _similar_names(edit.path, files))
    if edit.new_path != edit.path:
        if target is not None:
            raise DoesNotFitError(f"{edit.new_path} exists already; delete it first, or choose another name.")
        documents[edit.path], documents[edit.new_path] = None, document


def _applied(edit: Edit, document: Document | None, files: _Files, terms: Terms) -> Document | None:
    if edit.is_deletion:
        if document is None:
            raise DoesNotFitError("there is no such file to delete." + _similar_names(edit.path, files))
        return None
    if edit.is_whole:
        return _rewritten(edit, document)
    is_new = document is None or not any(body.strip() for body in document.bodies)
    if is_new and (edit.is_creation or (document is None and not edit.search.strip() and not edit.after)):
        return _filled(edit, document)
    if document is None:
        raise DoesNotFitError(f"there is no such file; {terms.create}." + _similar_names(edit.path, files))
    if edit.is_creation:
        raise DoesNotFitError(terms.quote)
    return _edited(edit, document, terms)


def _filled(edit: Edit, document: Document | None) -> Document:
    """A file that was not there or was empty: of its dress only a byte-order mark is worth keeping."""
    mark = "" if document is None else document.mark
    return Document.of((mark + edit.replace).encode())


def _edited(edit: Edit, document: Document, terms: Terms) -> Document:
    """The document with some of its lines replaced, or with lines more."""
    if is_binary(document.content):
        raise DoesNotFitError("the file is binary and cannot be edited as text.")
    if edit.search:
        match = find(document, edit, terms)
        lines = replacement(document, edit, match, terms)
        document.put(match.start, match.start + edit.search.count("\n"), lines)
    else:
        at = line_below(document, edit, terms)
        document.put(at, at, edit.replace.split("\n")[:-1])
    return document


def _rewritten(edit: Edit, document: Document | None) -> Document:
    """The document with another text, in the dress that it had; a new one where there was none."""
    fresh = edit.replace.split("\n")[:-1]
    before = [] if document is None else document.bodies
    elision = first_elision(fresh, before)
    if elision is not None:
        raise DoesNotFitError(
            f"line {elision + 1} of its text, {fresh[elision].strip()[:_MAX_LINE_CHARS]!r}, stands for lines that were left "
            "out, and they would be lost. Write every line of the file."
        )
    if document is None or (fresh != before and not any(body.strip() for body in before)):
        return _filled(edit, document)
    if fresh != before:
        _refuse_bytes(document)
        _put_all(document, fresh)
    return document


def _refuse_bytes(document: Document) -> None:
    if is_binary(document.content):
        raise DoesNotFitError("the file is binary and cannot be written as text.")
    if not document.is_utf8:
        raise DoesNotFitError("the file holds bytes that are no UTF-8 and would be lost; it cannot be written whole.")


def _put_all(document: Document, fresh: list[str]) -> None:
    if not document.is_mixed:
        document.put(0, len(document.bodies), fresh)
        return
    # Lines that stay keep their own endings; which of several equal ones does is not worth an exact comparison.
    changes = difflib.SequenceMatcher(None, document.bodies, fresh).get_opcodes()
    for tag, start, stop, begin, end in reversed(changes):
        if tag != "equal":
            document.put(start, stop, fresh[begin:end])


def _similar_names(path: str, files: Mapping[str, bytes]) -> str:
    close = difflib.get_close_matches(path, [name for name in files if name != path], n=2)
    return f" Did you mean {' or '.join(close)}?" if close else ""
