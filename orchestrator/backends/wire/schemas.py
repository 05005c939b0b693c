"""What of a JSON Schema a provider can hold a model to."""

from collections.abc import Mapping, Sequence


def allows_strict(schema: object) -> bool:
    """Whether OpenAI's strict mode takes a schema: every object closed, and every one of its properties required."""
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        if schema.get("type") == "object" or isinstance(properties, Mapping):
            names = set(properties) if isinstance(properties, Mapping) else set()
            required = schema.get("required")
            if schema.get("additionalProperties") is not False or names != set(_names(required)):
                return False
        return all(allows_strict(value) for value in schema.values())
    if isinstance(schema, Sequence) and not isinstance(schema, str | bytes):
        return all(allows_strict(value) for value in schema)
    return True


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(name) for name in value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
