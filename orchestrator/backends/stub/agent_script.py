"""What a simulated agent does in a session: it looks, changes and checks by calling tools, and knows only what they show it.

    read_file … ─► edit_file, write_file, delete_file … ─► run_checks ─► (correct, run_checks) ─► one sentence

The script is a generator: answers come out of it, the results of their calls go in. How its mistakes come about:

    wrong_edit, broken_syntax   made, and handed in with the chance `repair` although the checks failed; else corrected
    misplaced_edit              a search text that is not there; after the error the right one
    malformed_block             a call without its last argument; after the error with it
    truncated                   the answer with the change is cut off before its calls, and given again
    protected_edit              a write to a test's file besides the change; what comes of it is left to the tools and the gate
    refusal                     no session at all
"""

import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.backends.stub.answers import MAX_CHANGED_FILES, correct_edits, introduction
from orchestrator.backends.stub.desk import Desk, calls_for, page_of
from orchestrator.backends.stub.faults import error_for
from orchestrator.backends.stub.mistakes import broken, cheating, misquoted, wrong
from orchestrator.backends.stub.profile import AnswerError, StubProfile
from orchestrator.backends.stub.replies import REFUSAL, Reply, cut
from orchestrator.core.chat import Prompt, ShownFile, ToolCall, ToolResult
from orchestrator.core.draws import Key, choice, fraction
from orchestrator.core.edits.blocks import Edit
from orchestrator.core.edits.diff import FileDiff
from orchestrator.core.globs import is_literal, matches

CHECKS = "run_checks"
WRITES = frozenset({"edit_file", "write_file", "delete_file"})
_LISTED = re.compile(r"^Files to begin with.*\n((?:- .+\n?)+)", re.MULTILINE)
_MORE = re.compile(r"and \d+ more")
_NOTES = ("[", "…", "(")

Call = tuple[str, Mapping[str, object]]
Results = Sequence[ToolResult]
Script = Generator[Reply, Results, None]


class LostThreadError(Exception):
    """The conversation does not say what the script needs to go on."""


@dataclass(slots=True)
class AgentScript:
    """One session: what it was asked, how it will err, what it knows. `listed` are files that are said to be there."""

    opening: Prompt
    solution: Sequence[FileDiff] | None
    error: AnswerError | None
    repair: float
    luck: Key
    desk: Desk = field(default_factory=Desk)
    listed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, profile: StubProfile, opening: Prompt, solution: Sequence[FileDiff] | None) -> "AgentScript":
        """The script for the prompt that opens a session."""
        draw = opening.draw
        # As in the first answer without tools: the same subtask meets the same mistake either way.
        luck: Key = (draw.seed, draw.subtask, draw.draw, 0)
        return cls(opening, solution, error_for(profile, opening, luck), profile.repair, luck)

    def play(self) -> Script:
        """The session up to its last words. Raises `LostThreadError` for results that it cannot have got."""
        if self.error == "refusal":
            yield Reply(REFUSAL, "refusal")
            return
        yield from self._look()
        seen = self._seen()
        # What is there and could not be read is no text, and nothing to write anew.
        unread = set(self.listed) - set(self.desk.read)
        right = [e for e in correct_edits(seen, self.solution) if not (e.is_creation and e.path in unread)]
        first = self._first(right, seen)
        yield from self._change(introduction(seen, first), calls_for(first))
        if self._offers(CHECKS) and self.desk.has_changed:
            yield from self._check(right, is_wrong=first[: len(right)] != right)

    def _look(self) -> Script:
        """Read what is going to be changed, to its end."""
        for file in self.opening.files:
            self.desk.put(file.path, file.text)
        wanted = [path for path in self._wanted() if path not in self.desk.read]
        globs = [glob for glob in self.opening.writable if not is_literal(glob) and self._offers("list_files")]
        calls: list[Call] = [("read_file", {"path": path}) for path in wanted]
        results = yield from self._ask(
            "I look at the files first.", [*calls, *(("list_files", {"glob": glob}) for glob in globs)]
        )
        listings = results[len(wanted) :]
        yield from self._keep(wanted, results[: len(wanted)])
        if self.solution is None:
            found = [line for each in listings if not each.is_error for line in each.text.split("\n")]
            self.listed += [line for line in found if line and not line.startswith(_NOTES)]
            more = self._writable([path for path in self.listed if path not in {*wanted, *self.desk.read}])
            more = more[: max(0, MAX_CHANGED_FILES - len(self.desk.read))]
            results = yield from self._ask(
                "And what else I may change.", [("read_file", {"path": path}) for path in more]
            )
            yield from self._keep(more, results)

    def _keep(self, paths: Sequence[str], results: Results) -> Script:
        """Put what was read on the desk, and read on in the files that go on."""
        texts: dict[str, str] = {}
        going_on = dict.fromkeys(paths, 1)
        while going_on:
            pages = {
                path: page_of(result.text)
                for path, result in zip(going_on, results, strict=True)
                if not result.is_error
            }
            going_on = {}
            for path, page in pages.items():
                if page is None:
                    raise LostThreadError
                texts[path] = texts.get(path, "") + page.text
                if page.next_line is not None:
                    going_on[path] = page.next_line
            results = yield from self._ask(
                "I read on.", [("read_file", {"path": path, "first_line": line}) for path, line in going_on.items()]
            )
        for path, text in texts.items():
            self.desk.put(path, text)

    def _first(self, right: list[Edit], seen: Prompt) -> list[Edit]:
        """The change as the agent makes it at first."""
        match self.error:
            case "wrong_edit":
                return wrong(right, seen, self.luck)
            case "broken_syntax":
                return broken(right, seen, self.luck)
            case "protected_edit":
                return cheating(right, seen, self.luck)
            case _:
                return right

    def _change(self, words: str, calls: Sequence[Call]) -> Script:
        """Make the change in one turn, and then again what came back as an error through a slip of the agent's own."""
        if self.error == "truncated":
            yield cut(Reply(words, calls=_as_calls(calls)).whole, self.luck)
        made = self._with_slip(calls)
        results = yield from self._ask(words, made)
        if made != calls:
            again = [call for call, result in zip(calls, results, strict=True) if result.is_error]
            yield from self._ask("That call was wrong. Once more.", again)

    def _with_slip(self, calls: Sequence[Call]) -> Sequence[Call]:
        """The calls, one of them unusable if that is the mistake to make: one that quotes, if there is one."""
        if self.error not in {"misplaced_edit", "malformed_block"} or not calls:
            return calls
        quoting = [at for at, (name, _) in enumerate(calls) if name == "edit_file"]
        at = choice((*self.luck, "misplaced"), quoting or list(range(len(calls))))
        name, arguments = calls[at]
        if self.error == "malformed_block":
            slip: Call = (name, dict(list(arguments.items())[:-1]))
        else:
            edit = misquoted(Edit(str(arguments["path"]), str(arguments.get("search", ""))), self.luck)
            text = arguments.get("replace", arguments.get("content", ""))
            slip = ("edit_file", {"path": edit.path, "search": edit.search, "replace": text})
        return [*calls[:at], slip, *calls[at + 1 :]]

    def _check(self, right: Sequence[Edit], *, is_wrong: bool) -> Script:
        """Run the checks; where they tell of the agent's mistake, correct it, unless it does not see what is wrong."""
        checks: list[Call] = [(CHECKS, {})]
        (result,) = yield from self._ask("Now the checks.", checks)
        has_passed = result.text.strip().lower().startswith("passed")
        if has_passed or not is_wrong or fraction((*self.luck, "repair")) < self.repair:
            return
        correction = self.desk.calls_towards(right)
        if correction:
            yield from self._ask("The checks tell what I did wrong: I correct it.", correction)
            yield from self._ask("And again.", checks)

    def _ask(self, words: str, calls: Sequence[Call]) -> Generator[Reply, Results, Results]:
        """One answer with calls; its results, which the desk notes. No answer without calls."""
        if not calls:
            return ()
        reply = Reply(words, calls=_as_calls(calls))
        results = yield reply
        self.desk.note(reply.calls, results)
        return results

    def _wanted(self) -> list[str]:
        """The files to read at first: those of the reference, else the writable ones that the prompt names."""
        listing = _LISTED.search(self.opening.messages[0].text)
        named = [line.removeprefix("- ") for line in listing[1].splitlines()] if listing else []
        self.listed += [path for path in named if not _MORE.fullmatch(path)]
        if self.solution is not None:
            paths = [path for diff in self.solution for path in (diff.old_path, diff.new_path) if path is not None]
            return list(dict.fromkeys(paths))
        literal = [glob for glob in self.opening.writable if is_literal(glob)]
        return self._writable([*self.listed, *literal])[:MAX_CHANGED_FILES]

    def _writable(self, paths: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(path for path in paths if matches(path, self.opening.writable)))

    def _offers(self, name: str) -> bool:
        return any(tool.name == name for tool in self.opening.tools)

    def _seen(self) -> Prompt:
        """The prompt as if it had shown what was read."""
        shown = ((path, text, matches(path, self.opening.writable)) for path, text in self.desk.read.items())
        files = tuple(ShownFile(path=path, text=text, is_writable=is_writable) for path, text, is_writable in shown)
        return self.opening.model_copy(update={"files": files})


def _as_calls(calls: Sequence[Call]) -> tuple[ToolCall, ...]:
    """The calls of one answer; their ids are given when it is known which answer it is."""
    return tuple(ToolCall(id="", name=name, arguments=arguments) for name, arguments in calls)
