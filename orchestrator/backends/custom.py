"""A backend of somebody's own: `backend: package.module:Class` in a configuration, and its settings beside it.

The class is found, its settings are validated by its own `Settings`, and it is made as `Class(settings, clock)`. With `complete`
it is a chat model, with `generate` a backend, with both a backend that can plan too. Whatever goes wrong on the way is a
mistake in the configuration as far as its writer is concerned, so each becomes a `SpecError` at its line, the writer's own
exceptions included.

The page for people: docs/custom-backends.md. The promises that the class has to keep: `orchestrator.testing`.
"""

import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Protocol, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from orchestrator.core.errors import OrchestratorError, SpecError
from orchestrator.core.needs import hint
from orchestrator.core.prompt import Manner
from orchestrator.core.values import Value
from orchestrator.ports import Backend, ChatModel, Clock

PAGE = "docs/custom-backends.md"
_DOTTED = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*)")
_MAX_LINES, _MAX_WIDTH = 4, 300
_ValueT = TypeVar("_ValueT")


class ParseSettings(Protocol):
    """Validates the settings that stand beside `backend`. Raises `SpecError` with the lines of every mistake."""

    def __call__(self, model: type[BaseModel], /) -> BaseModel:
        """Return the settings as a value of that model."""
        ...


@dataclass(frozen=True, slots=True)
class CustomSource:
    """What a configuration says of a backend of its own.

    `dotted` is `package.module:Class`. `folders` are where modules are looked for besides where Python looks. `problem` makes the
    error of the line that says `backend`.
    """

    dotted: str
    folders: Sequence[Path]
    parse: ParseSettings
    problem: Callable[[str], SpecError]


@dataclass(frozen=True, slots=True)
class CustomBackend:
    """What was made of it: a chat model, a backend, or one that is both. `is_simulated` is what the class says of itself."""

    name: str
    model: ChatModel | None
    backend: Backend | None
    is_simulated: bool = False


class NoSettings(Value):
    """The settings of a class that has no `Settings`: none."""


def is_custom(backend: str) -> bool:
    """Tell whether what `backend:` says means a class rather than one of the built-in types."""
    return ":" in backend


def load_custom(source: CustomSource, clock: Clock) -> CustomBackend:
    """Find the class, validate its settings, make it. Raises `SpecError`, and nothing else, for whatever is wrong."""
    found = _DOTTED.fullmatch(source.dotted)
    if found is None:
        raise source.problem(
            f"`backend: {source.dotted}` is not the name of a class; write `package.module:Class`, the module as Python "
            "imports it"
        )
    module, name = found.groups()
    return _Loading(source, module, name).load(clock)


@dataclass(frozen=True, slots=True)
class _Loading:
    """One class on its way."""

    source: CustomSource
    module: str
    name: str

    def load(self, clock: Clock) -> CustomBackend:
        """All steps, in order."""
        kind = self._class_in(self._imported())
        settings = self._settings(kind)
        made = self._made(kind, settings, clock)
        model, backend = self._checked(made, "complete", 2), self._checked(made, "generate", 3)
        if model is None and backend is None:
            raise self._problem(
                f"`{self.name}` has neither `async def complete(self, prompt, meter)`, as a chat model has, nor "
                "`async def generate(self, prompt, workspace, meter)`, as a backend has; write one"
            )
        if backend is not None and not isinstance(self._attribute(made, "manner"), Manner):
            raise self._problem(
                f"`{self.name}.manner` must be an `orchestrator.core.prompt.Manner`; write `manner = Manner()` into the class"
            )
        return CustomBackend(
            name=self._name_of(made),
            model=cast("ChatModel | None", model),
            backend=cast("Backend | None", backend),
            is_simulated=bool(self._attribute(made, "is_simulated")),
        )

    def _problem(self, what: str, raised: BaseException | None = None) -> SpecError:
        told = "" if raised is None else f":\n{_end_of(raised)}"
        return self.source.problem(f"{what} (see {PAGE}){told}")

    def _imported(self) -> ModuleType:
        _make_importable(self.source.folders)
        self._require_own()
        try:
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{self.module}.".startswith(f"{error.name}."):
                raise self._problem(f"the module `{self.module}` cannot be imported", error) from error
            looked = ", ".join(str(folder) for folder in self.source.folders)
            raise self._problem(
                f"there is no module `{error.name}`; looked in {looked}, and among what is installed for {sys.executable}"
            ) from None
        except (Exception, SystemExit) as error:
            raise self._problem(f"the module `{self.module}` cannot be imported", error) from error

    def _require_own(self) -> None:
        """Refuse a name that means another module than the one in the folders: code that was not meant would run."""
        top = self.module.partition(".")[0]
        own = PathFinder.find_spec(top, [str(folder) for folder in self.source.folders])
        taken = sys.modules[top].__spec__ if top in sys.modules else find_spec(top)
        if own is None or own.origin is None or taken is None or taken.origin is None:
            return
        if own.origin != taken.origin and not (Path(taken.origin).exists() and Path(own.origin).samefile(taken.origin)):
            raise self._problem(
                f"the name `{top}` is taken by {taken.origin}; {own.origin} needs another one, rename it"
            )

    def _class_in(self, module: ModuleType) -> type:
        kind = getattr(module, self.name, None)
        if isinstance(kind, type):
            return kind
        where = getattr(module, "__file__", None) or "a folder without __init__.py"
        if kind is not None:
            raise self._problem(f"`{self.name}` in {where} is no class but {type(kind).__name__}; name the class")
        own = [
            name for name, each in vars(module).items() if isinstance(each, type) and each.__module__ == module.__name__
        ]
        raise self._problem(f"there is no class `{self.name}` in {where}{hint(self.name, own)}")

    def _settings(self, kind: type) -> BaseModel | None:
        declared = getattr(kind, "Settings", None)
        if declared is None:
            self.source.parse(NoSettings)
            return None
        if not (isinstance(declared, type) and issubclass(declared, BaseModel)):
            raise self._problem(f"`{self.name}.Settings` must be a pydantic model: `class Settings(BaseModel): …`")

        def parsed() -> BaseModel | SpecError:
            try:
                return self.source.parse(_strict(declared))
            except SpecError as error:
                return error

        settings = self._guarded(f"`{self.name}.Settings`", parsed)
        if isinstance(settings, SpecError):
            raise settings
        return settings

    def _made(self, kind: type, settings: BaseModel | None, clock: Clock) -> object:
        try:
            inspect.signature(kind).bind(settings, clock)
        except TypeError as error:
            raise self._problem(
                f"`{self.name}` is made as `{self.name}(settings, clock)`, and its `__init__` does not take that: {error}"
            ) from None
        except ValueError:
            # A class made in C tells nothing of its signature; making it will.
            pass
        return self._guarded(f"`{self.name}(settings, clock)`", lambda: kind(settings, clock))

    def _checked(self, made: object, method: str, count: int) -> object | None:
        """The object where it has the method, as it must be; None where it has none."""
        bound = self._attribute(made, method)
        if bound is None:
            return None
        names = ("prompt", "meter") if count == 2 else ("prompt", "workspace", "meter")
        wanted = f"`async def {method}(self, {', '.join(names)})`"
        if not callable(bound) or not inspect.iscoroutinefunction(inspect.unwrap(bound)):
            raise self._problem(f"`{self.name}.{method}` must be a coroutine function; write {wanted}")
        try:
            inspect.signature(bound).bind(*names)
        except TypeError as error:
            raise self._problem(f"`{self.name}.{method}` must be {wanted}: {error}") from None
        return made

    def _name_of(self, made: object) -> str:
        name = self._attribute(made, "name")
        if not isinstance(name, str) or not name.strip():
            raise self._problem(f'`{self.name}` has no name for the reports; write `name = "…"` into the class')
        return name

    def _attribute(self, made: object, name: str) -> object:
        return self._guarded(f"`{self.name}.{name}`", lambda: getattr(made, name, None))

    def _guarded(self, what: str, act: Callable[[], _ValueT]) -> _ValueT:
        """Let somebody's code run; what it raises is a problem of the configuration."""
        try:
            return act()
        except OrchestratorError as error:
            raise self._problem(f"{what} failed: {error}") from error
        except (Exception, SystemExit) as error:
            raise self._problem(f"{what} failed", error) from error


def _make_importable(folders: Sequence[Path]) -> None:
    """Let modules be found in the folders, after everything else, so that nothing of the program's is hidden by them.

    They stay: a backend may import more when it works.
    """
    for folder in folders:
        absolute = str(folder.absolute())
        if absolute not in sys.path:
            sys.path.append(absolute)
    importlib.invalidate_caches()


def _strict(declared: type[BaseModel]) -> type[BaseModel]:
    """The settings' model, with unknown keys as errors unless it says what becomes of them."""
    if "extra" in declared.model_config:
        return declared
    names = {"__module__": declared.__module__, "__doc__": declared.__doc__, "__qualname__": declared.__qualname__}
    return type(declared.__name__, (declared,), {**names, "model_config": ConfigDict(extra="forbid")})


def _end_of(error: BaseException) -> str:
    """The last lines of a traceback: where in somebody's code, and what."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    told = [line for line in lines if line.strip() and set(line) - set(" ^~")]
    return "\n".join(f"    {line.strip()[:_MAX_WIDTH]}" for line in told[-_MAX_LINES:])
