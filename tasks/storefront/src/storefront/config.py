"""Settings: INI-like text, environment overrides and typed access."""

from storefront.errors import ConfigError

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SIZES = {"k": 1024, "m": 1024 * 1024}


def parse(text):
    """Read ``[section]`` headers and ``key = value`` lines into dotted keys."""
    result = {}
    section = ""
    number = 0
    for raw in text.split("\n"):
        number = number + 1
        line = raw.split("#", 1)[0].strip()
        if line == "":
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip().lower()
            if section == "":
                raise ConfigError("line %d: empty section name" % number)
        else:
            if "=" not in line:
                raise ConfigError("line %d: expected key = value" % number)
            key, value = line.split("=", 1)
            key = key.strip().lower()
            if key == "":
                raise ConfigError("line %d: empty key" % number)
            if section != "":
                key = "%s.%s" % (section, key)
            if key in result:
                raise ConfigError("line %d: %s is set twice" % (number, key))
            result[key] = value.strip()
    return result


def from_env(environ, prefix="STOREFRONT_"):
    """``STOREFRONT_CART__MAX_LINES`` becomes ``cart.max_lines``."""
    result = {}
    for name in sorted(environ.keys()):
        if name.startswith(prefix):
            if len(name) > len(prefix):
                key = name[len(prefix) :].lower().replace("__", ".")
                result[key] = environ[name]
    return result


def duration_s(text):
    """Seconds of ``90``, ``15m`` or ``1h30m``."""
    rest = text.strip().lower()
    if rest == "":
        raise ConfigError("empty duration")
    if rest.isdigit():
        return int(rest)
    seconds = 0
    digits = ""
    for char in rest:
        if char.isdigit():
            digits = digits + char
        else:
            if char in UNITS and digits != "":
                seconds = seconds + int(digits) * UNITS[char]
                digits = ""
            else:
                raise ConfigError("bad duration %r" % text)
    if digits != "":
        raise ConfigError("bad duration %r" % text)
    return seconds


def size_bytes(text):
    value = text.strip().lower()
    factor = 1
    if value != "" and value[-1] in SIZES:
        factor = SIZES[value[-1]]
        value = value[:-1]
    if not value.isdigit():
        raise ConfigError("bad size %r" % text)
    return int(value) * factor


class Settings(object):
    """Layers of settings, the last one wins."""

    def __init__(self, layers=[]):
        self._values = {}
        for layer in layers:
            self._values.update(layer)

    def __contains__(self, key):
        return key in self._values

    def text(self, key, default=None):
        if key in self._values:
            return self._values[key]
        elif default is not None:
            return default
        else:
            raise ConfigError("%s is not set" % key)

    def integer(self, key, default=None, low=None, high=None):
        """A whole number within bounds; the default is not checked."""
        if key not in self._values:
            if default is None:
                raise ConfigError("%s is not set" % key)
            else:
                return default
        try:
            value = int(self._values[key])
        except ValueError:
            raise ConfigError("%s is not a number" % key)
        if low is not None:
            if value < low:
                raise ConfigError("%s must be at least %d" % (key, low))
        if high is not None:
            if value > high:
                raise ConfigError("%s must be at most %d" % (key, high))
        return value

    def flag(self, key, default=False):
        if key not in self._values:
            return default
        value = self._values[key].lower()
        if value == "on" or value == "yes" or value == "true" or value == "1":
            return True
        elif value == "off" or value == "no" or value == "false" or value == "0":
            return False
        else:
            raise ConfigError("%s is not on or off" % key)

    def items(self, key, default=[]):
        """A comma separated list without empty entries."""
        if key not in self._values:
            return list(default)
        result = []
        for part in self._values[key].split(","):
            if part.strip() != "":
                result.append(part.strip())
        return result

    def section(self, name):
        """Keys below a section, without its prefix."""
        prefix = "%s." % name
        result = {}
        for key in self._values:
            if key.startswith(prefix):
                result[key[len(prefix) :]] = self._values[key]
        return result
