"""The tools of a session, performed in its workspace: a call goes in, a result for the model comes out, whatever the call.

Writing is refused at once, and not only by the gate, for paths that no change may name and for paths outside of what the
subtask may change. Edits find their place as edit blocks do (`core.edits.apply`): strictly first, then more leniently, and never
where there are two. Every result is bounded; what was left out, and how to get it, is said at its end.

Whatever takes long with the size of a file is done in a thread, so that other sessions go on; how many files are held at once is
bounded, however many calls there are. Only what is broken outside (git, the gate) is raised. Next: `sessions.tools` is the loop that calls this.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import assert_never

from orchestrator.backends.sessions.file_texts import edited, numbered, text_in, written
from orchestrator.backends.sessions.searching import Searcher
from orchestrator.backends.sessions.tool_calls import (
    BadCallError,
    DeleteFile,
    EditFile,
    ListFiles,
    ReadFile,
    Request,
    RunChecks,
    Search,
    WriteFile,
    read_call,
    tools,
)
from orchestrator.backends.sessions.tool_settings import ToolSettings
from orchestrator.core.chat import Tool, ToolCall, ToolResult
from orchestrator.core.globs import matches, problem_in, select
from orchestrator.core.paths import UnsafePath, unsafe_reason
from orchestrator.ports import CheckedWorkspace

_MAX_LISTED = 500
_MAX_NAMED = 20
_MAX_FILE_BYTES = 1_000_000
_MAX_SEARCHED_CHARS = 8_000_000
_READ_AT_ONCE = 100
_READERS_AT_ONCE = 2
# What a note at the end of a result may take of its room.
_NOTE_CHARS = 200


@dataclass(slots=True)
class _Texts:
    """Files to search in: their paths and texts, what was left out, and the characters that there is room for yet."""

    found: list[tuple[str, str]] = field(default_factory=list)
    skipped: int = 0
    room: int = _MAX_SEARCHED_CHARS
    is_cut: bool = False

    def add(self, files: Mapping[str, bytes]) -> None:
        """Take in files in the order of their paths, until the first that there is no room for."""
        for path, content in sorted(files.items()):
            text = text_in(content) if len(content) <= _MAX_FILE_BYTES else None
            if text is None:
                self.skipped += 1
                continue
            self.room -= len(text)
            if self.room < 0:
                self.is_cut = True
                return
            self.found.append((path, text))


class Toolbox:
    """The tools over one workspace. `has_written` tells whether any call wrote into it."""

    def __init__(
        self, workspace: CheckedWorkspace, writable: Sequence[str], settings: ToolSettings, searcher: Searcher
    ) -> None:
        self._workspace = workspace
        self._writable = writable
        self._max_chars = settings.max_result_chars
        self._searcher = searcher
        self._readers = asyncio.Semaphore(_READERS_AT_ONCE)
        self._max_checks = settings.max_checks
        self._checks = 0
        self.tools: tuple[Tool, ...] = tools(with_checks=settings.run_checks)
        self._offered = [tool.name for tool in self.tools]
        self.has_written = False

    async def run(self, call: ToolCall) -> ToolResult:
        """Perform one call. A call that is wrong has a result that says so."""
        try:
            text, is_error = await self._perform(read_call(call, self._offered)), False
        except BadCallError as error:
            text, is_error = str(error), True
        except UnsafePath as error:
            text, is_error = f"Nothing was changed: {error}.", True
        # A path of the repository may hold bytes that are not UTF-8.
        return ToolResult(call=call.id, text=self._bounded(text.encode("utf-8", "replace").decode()), is_error=is_error)

    async def _perform(self, request: Request) -> str:
        match request:
            case ListFiles():
                return self._listed(await self._chosen(request.glob))
            case ReadFile():
                async with self._readers:
                    content = await self._content(request.path)
                    return await asyncio.to_thread(_shown, request, content, self._max_chars - _NOTE_CHARS)
            case Search():
                return await self._search(request)
            case RunChecks():
                return await self._check()
            case _:
                return await self._change(request)

    async def _chosen(self, glob: str) -> list[str]:
        """The paths that a glob means. Raises `BadCallError` when it is no glob, or means none."""
        problem = problem_in(glob)
        if problem is not None:
            raise BadCallError(f"The glob {glob[:_NOTE_CHARS]!r} {problem}.")
        paths = await self._workspace.paths()
        found = await asyncio.to_thread(select, paths, (glob,))
        if not found:
            is_folder = any(path.startswith(f"{glob}/") for path in paths)
            hint = f" It is a folder: write {glob + '/'!r} for what is below it." if is_folder else ""
            raise BadCallError(f"No file matches {glob!r}.{hint}")
        return found

    def _listed(self, paths: Sequence[str]) -> str:
        shown: list[str] = []
        room = self._max_chars - _NOTE_CHARS
        for path in paths[:_MAX_LISTED]:
            room -= len(path) + 1
            if room < 0:
                break
            shown.append(path)
        left = len(paths) - len(shown)
        return "\n".join((*shown, f"… and {left} more; narrow the glob") if left else shown)

    async def _content(self, path: str) -> bytes:
        """A file's content. Raises `BadCallError` where there is none, with what may have been meant."""
        reason = unsafe_reason(path)
        if reason is not None:
            raise BadCallError(f"The path {path[:_NOTE_CHARS]!r} {reason}.")
        content = (await self._workspace.read([path])).get(path)
        if content is None:
            raise BadCallError(f"There is no file {path!r}.{await self._meant(path)}")
        return content

    async def _meant(self, path: str) -> str:
        paths = await self._workspace.paths()
        if any(each.startswith(f"{path}/") for each in paths):
            return f" It is a folder: call list_files with {path + '/'!r}."
        namesakes = [each for each in paths if PurePosixPath(each).name == PurePosixPath(path).name][:3]
        return f" Did you mean {' or '.join(namesakes)}?" if namesakes else ""

    async def _search(self, request: Search) -> str:
        paths = await self._chosen(request.glob)
        async with self._searcher.slots:
            texts = await self._texts(paths)
            found = await self._searcher.search(request.pattern, texts.found)
        if not found:
            found = [f"No line matches (files searched: {len(texts.found)})."]
        if texts.skipped:
            found.append(f"(not searched, since no text or larger than {_MAX_FILE_BYTES:,} bytes: {texts.skipped})")
        if texts.is_cut:
            found.append(f"(only the first {len(texts.found)} files were searched; narrow the glob)")
        return self._whole_lines(found)

    async def _texts(self, paths: Sequence[str]) -> _Texts:
        texts = _Texts()
        for start in range(0, len(paths), _READ_AT_ONCE):
            await asyncio.to_thread(texts.add, await self._workspace.read(paths[start : start + _READ_AT_ONCE]))
            if texts.is_cut:
                break
        return texts

    def _whole_lines(self, lines: Sequence[str]) -> str:
        """As many lines as there is room for."""
        room = self._max_chars - _NOTE_CHARS
        for count, line in enumerate(lines):
            room -= len(line) + 1
            if room < 0:
                return "\n".join((*lines[:count], "… more was found; search for something narrower"))
        return "\n".join(lines)

    async def _check(self) -> str:
        if self._checks >= self._max_checks:
            raise BadCallError(f"No run of the checks is left, of {self._max_checks}. Finish without them.")
        self._checks += 1
        verdict = await self._workspace.check()
        if verdict.passed:
            return "passed"
        left = self._max_checks - self._checks
        told = verdict.feedback.strip() or f"failed: {verdict.reason}"
        return f"{self._bounded(told, _NOTE_CHARS)}\n\n(runs of the checks left: {left})"

    async def _change(self, request: EditFile | WriteFile | DeleteFile) -> str:
        path = request.path
        self._refuse_unwritable(path)
        content: bytes | None
        match request:
            case EditFile():
                before = await self._content(path)
                content, said = await asyncio.to_thread(edited, request, before), f"edited {path}"
            case WriteFile():
                replaced = (await self._workspace.read([path])).get(path)
                content, said = await asyncio.to_thread(written, request.content, replaced), f"wrote {path}"
            case DeleteFile():
                await self._content(path)
                content, said = None, f"deleted {path}"
            case _:
                assert_never(request)
        await self._workspace.write({path: content})
        self.has_written = True
        return said

    def _refuse_unwritable(self, path: str) -> None:
        reason = unsafe_reason(path)
        if reason is not None:
            raise BadCallError(f"Nothing was changed: the path {path[:_NOTE_CHARS]!r} {reason}.")
        if not matches(path, self._writable):
            named = ", ".join(self._writable[:_MAX_NAMED])
            more = f" and {len(self._writable) - _MAX_NAMED} more" if len(self._writable) > _MAX_NAMED else ""
            raise BadCallError(f"Nothing was changed: {path} is not writable. Writable are: {named}{more}.")

    def _bounded(self, text: str, less: int = 0) -> str:
        limit = self._max_chars - less
        if len(text) <= limit:
            return text
        kept = limit - _NOTE_CHARS
        return f"{text[:kept]}\n[… {len(text) - kept} more characters]"


def _shown(request: ReadFile, content: bytes, room: int) -> str:
    text = text_in(content)
    if text is None:
        raise BadCallError(
            f"{request.path} is no UTF-8 text but a binary file or one in another encoding: it cannot be shown."
        )
    return numbered(request, text, room)
