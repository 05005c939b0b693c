"""What is never written: keys that are known, and what looks like one.

Known secrets are replaced wherever they stand. Beyond that only shapes that providers give their keys, each long enough and
mixed enough that ordinary code does not take it by chance: a name such as `sk-toggleable__label-arrow` stays what it is.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar, cast, get_origin

from pydantic import SecretStr

from orchestrator.core.values import Value

REDACTED = "[redacted]"
# A shorter one is a placeholder such as "none", and would be found in any text.
_SHORTEST_SECRET = 8
# What lies deeper is left out unseen.
_DEEPEST = 100
# No letter or digit stands before a key, but for that of an escape where the text is spelled as JSON.
_BEGIN = r"(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))"
_PRIVATE_KEY = (
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[A-Za-z0-9+/=\s\\:,-]{64,16384}?-----END (?:[A-Z]+ )*PRIVATE KEY-----"
)
# With what must be in a text for a shape to be in it: looking for that is quick, and most texts have none.
_SHAPES: tuple[tuple[tuple[str, ...], re.Pattern[str]], ...] = tuple(
    (literals, re.compile(shape, re.ASCII))
    for literals, shape in (
        (
            ("sk-",),
            rf"{_BEGIN}sk-(?:ant|proj|svcacct|admin|or)-(?=[\w-]{{0,99}}\d)[\w-]{{16,}}",
        ),  # Anthropic, OpenAI, …
        (("sk-",), rf"{_BEGIN}sk-(?=[A-Za-z0-9]*\d)[A-Za-z0-9]{{20,}}"),  # OpenAI's older ones, and many alike
        (("k_live_", "k_test_"), rf"{_BEGIN}[rs]k_(?:live|test)_[A-Za-z0-9]{{16,}}"),  # Stripe
        (("gh",), rf"{_BEGIN}gh[pousr]_[A-Za-z0-9]{{36,}}"),  # GitHub
        (("github_pat_",), rf"{_BEGIN}github_pat_[A-Za-z0-9_]{{22,}}"),
        (("glpat-",), rf"{_BEGIN}glpat-[\w-]{{20,}}"),  # GitLab
        (("xox",), rf"{_BEGIN}xox[abposr]-\d[A-Za-z0-9-]{{9,}}"),  # Slack
        (("AKIA", "ASIA"), rf"{_BEGIN}A(?:KIA|SIA)[A-Z0-9]{{16}}(?![A-Za-z0-9])"),  # AWS
        (("AIza",), rf"{_BEGIN}AIza[\w-]{{35}}"),  # Google
        (("eyJ",), rf"{_BEGIN}eyJ[\w-]{{10,4096}}\.eyJ[\w-]{{10,4096}}\.[\w-]{{10,}}"),  # a JSON Web Token
        (("PRIVATE KEY-----",), _PRIVATE_KEY),
        (("earer ", "EARER "), r"(?:(?<=\b[Bb]earer )|(?<=\bBEARER ))(?=[A-Za-z._~+-]*\d)[\w.~+-]{20,}[\w.~+/=-]*"),
    )
)
_ValueT = TypeVar("_ValueT", bound=Value)


class Redactor:
    """Takes secrets out of texts. `secrets` are known; one of fewer than 8 characters is not looked for."""

    def __init__(self, secrets: Iterable[SecretStr | str] = ()) -> None:
        texts = (secret.get_secret_value() if isinstance(secret, SecretStr) else secret for secret in secrets)
        plain = {text.strip() for text in texts}
        # As they stand in JSON within a text, too.
        spelled = {spelling for text in plain for spelling in (text, json.dumps(text)[1:-1])}
        known = sorted((text for text in spelled if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def text(self, text: str) -> str:
        """The text with `[redacted]` in place of every secret."""
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        for literals, shape in _SHAPES:
            if any(literal in text for literal in literals):
                text = shape.sub(REDACTED, text)
        return text

    def value(self, value: _ValueT) -> _ValueT:
        """The value with every text in it, keys of mappings included, redacted; words of a fixed choice stay."""
        return cast("_ValueT", self._redacted(value, _DEEPEST))

    def _redacted(self, value: object, left: int) -> object:
        if left == 0:
            return REDACTED
        match value:
            case str():
                return self.text(value)
            case Value():
                fields = type(value).model_fields.items()
                open_fields = [name for name, info in fields if get_origin(info.annotation) is not Literal]
                return value.model_copy(
                    update={name: self._redacted(getattr(value, name), left - 1) for name in open_fields}
                )
            case Mapping():
                return {self.text(str(key)): self._redacted(inner, left - 1) for key, inner in value.items()}
            case tuple() | list():
                return type(value)(self._redacted(inner, left - 1) for inner in value)
            case _:
                return value
