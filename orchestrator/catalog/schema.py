"""The JSON Schema of task files, for editors. `docs/task.schema.json` is its text; a test holds the two together."""

import json

from orchestrator.core.spec import TaskSpec


def task_schema() -> dict[str, object]:
    """Return the schema, with the short form of commands that the loader takes in `gate.setup`."""
    schema = TaskSpec.model_json_schema(by_alias=True)
    setup = schema["$defs"]["GateSpec"]["properties"]["setup"]
    setup["items"] = {
        "anyOf": [
            setup["items"],
            {"type": "string", "minLength": 1, "description": "A command line; it is split like one."},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "An argument list."},
        ]
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "A task for orchestrate",
    }


def schema_text() -> str:
    """Return the schema as it is written to the file."""
    return json.dumps(task_schema(), indent=2, ensure_ascii=False) + "\n"
