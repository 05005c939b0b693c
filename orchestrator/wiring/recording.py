"""A folder that a run is recorded into: the exchanges, and a configuration that replays them.

DIR/replay.yaml      `backend: replay` and the session's settings, without which the same questions would not be asked
DIR/exchanges/       one file for each request
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import SecretStr

from orchestrator.backends.recordings.folder import Recording
from orchestrator.backends.recordings.recorder import RecordingModel
from orchestrator.backends.settings import ReplayConfig, SessionSettings
from orchestrator.backends.tariffs import Prices
from orchestrator.core.errors import EnvironmentFault, SpecError
from orchestrator.ports import ChatModel
from orchestrator.wiring.assembly import Means

REPLAY_FILE = "replay.yaml"
_HEAD = """\
# Written by `orchestrate run --record`. Replays what is in `exchanges`: --backend replay:DIR, or this file's path.
# What else is here was asked with, and belongs to the recording; time_scale may be changed.
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is recorded: the backend's name, the most that it is asked for, and what prices it by."""

    name: str
    output_tokens: int
    prices: Prices | None = None
    priced_as: str | None = None
    price_factor: float = 1.0


def recorder(
    settings: SessionSettings, subject: Subject, means: Means, secrets: Sequence[SecretStr] = ()
) -> Callable[[ChatModel], ChatModel]:
    """What puts a recorder around a model; nothing where no recording is asked for. Raises as `write_replay_file` does."""
    if means.record is None:
        return lambda model: model
    recording = Recording.create(write_replay_file(means.record, settings, subject), secrets)
    return lambda model: RecordingModel(model, recording, means.clock)


def write_replay_file(folder: Path, settings: SessionSettings, subject: Subject) -> Path:
    """Write the configuration, or see that the one that is there is the same; return the folder of the exchanges.

    Raises `SpecError` where the folder holds the recording of another backend or session.
    """
    replay = ReplayConfig(
        name=subject.name,
        max_output_tokens=subject.output_tokens,
        prices=subject.prices,
        priced_as=subject.priced_as,
        price_factor=subject.price_factor,
        **{field: getattr(settings, field) for field in SessionSettings.model_fields},
    )
    document = {"backend": "replay", **replay.model_dump(mode="json", exclude_defaults=True)}
    text = _HEAD + yaml.safe_dump(document, sort_keys=False)
    file = folder / REPLAY_FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if file.is_file():
            _require_same(file, document)
        elif any(folder.iterdir()):
            raise SpecError(
                [f"{folder}: this folder holds something else; name an empty one, or one that does not exist"]
            )
        else:
            file.write_text(text)
    except OSError as error:
        raise EnvironmentFault(f"cannot record in {folder}: {error.strerror}; name another folder") from error
    return folder / replay.exchanges


def _require_same(file: Path, document: dict[str, object]) -> None:
    try:
        there = yaml.safe_load(file.read_text())
    except yaml.YAMLError:
        there = None
    if not isinstance(there, dict) or {**there, "time_scale": None} != {**document, "time_scale": None}:
        raise SpecError(
            [f"{file}: another backend or session was recorded here; name another folder, or remove this one"]
        )
