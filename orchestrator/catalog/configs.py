"""Backend configurations: YAML files with `backend: <type>` and whatever that type of backend takes.

The type's pydantic model is the caller's, since a backend knows its own settings; the errors are of one quality.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalog.explain import ModelT, validate
from orchestrator.catalog.files import Document, Problem, fail, read_yaml
from orchestrator.core.errors import SpecError
from orchestrator.core.items import Where
from orchestrator.core.needs import hint
from orchestrator.core.values import Digest

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration as written: which backend it is for, its settings (without `backend`), where they stand.

    `digest` covers the bytes of the file.
    """

    path: Path
    backend: str
    settings: Mapping[str, object]
    digest: Digest
    document: Document

    @property
    def name(self) -> str:
        """What the configuration is called: its file's name without the ending."""
        return self.path.stem

    def line_of(self, where: Where | str) -> int:
        """Return the line, from 1, where a setting stands, given by its path or its name."""
        return self.document.line_of((where,) if isinstance(where, str) else where)


def find_config(name_or_path: str, directories: Iterable[Path]) -> Path:
    """Return the file of a configuration given by name (looked for in the directories, in order) or by path.

    Raises `SpecError` that lists what there is.
    """
    if "/" in name_or_path or name_or_path.endswith(_SUFFIXES):
        path = Path(name_or_path)
        if path.is_file():
            return path
    places = list(directories)
    for directory in places:
        for suffix in ("", *_SUFFIXES):
            path = directory / f"{name_or_path}{suffix}"
            if path.suffix in _SUFFIXES and path.is_file() and path.parent == directory:
                return path
    names = config_names(places)
    raise SpecError(
        [f"there is no configuration {name_or_path!r}{hint(name_or_path, names)} (looked in {_listed(places)})"]
    )


def _listed(directories: Iterable[Path]) -> str:
    return ", ".join(str(directory) for directory in directories) or "no folder"


def config_names(directories: Iterable[Path]) -> list[str]:
    """Return the names of the configurations in the directories, sorted."""
    files = (file for directory in directories if directory.is_dir() for file in directory.iterdir())
    return sorted({file.stem for file in files if file.suffix in _SUFFIXES})


def load_config(path: Path) -> LoadedConfig:
    """Read a configuration without judging the backend's own settings. Raises `SpecError`."""
    document = read_yaml(path)
    value = document.value
    if not isinstance(value, dict):
        document.refuse([Problem((), "the file must be a mapping that says `backend: <type>`")])
        raise fail(path, "the file must be a mapping")
    backend = value.get("backend")
    if not isinstance(backend, str) or not backend:
        document.refuse([Problem(("backend",), "`backend` is missing; write `backend: <type>`")])
        raise fail(path, "`backend` is missing; write `backend: <type>`")
    document.refuse([])
    settings = {key: setting for key, setting in value.items() if key != "backend"}
    return LoadedConfig(path=path, backend=backend, settings=settings, digest=document.digest, document=document)


def parse_config(loaded: LoadedConfig, model: type[ModelT]) -> ModelT:
    """Return the settings as the backend's own model. Raises `SpecError` with every problem.

    The model gets `backend` too when it has a field of that name.
    """
    document = loaded.document
    if "backend" not in model.model_fields:
        document = document.with_value(dict(loaded.settings))
    parsed, problems = validate(document, model)
    document.refuse(problems)
    if parsed is None:
        raise fail(loaded.path, "the configuration cannot be read")
    return parsed
