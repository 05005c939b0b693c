"""A small in-process event bus with a bounded journal."""

import fnmatch
import json

from storefront.errors import InvalidValue


class Event(object):
    """Something that happened: a dotted name, a time and plain data."""

    def __init__(self, name, time, data={}):
        if name == "" or name.startswith(".") or name.endswith(".") or ".." in name:
            raise InvalidValue("bad event name %r" % name)
        self.name = name
        self.time = time
        self.data = dict(data)
        self.sequence = 0

    def to_json(self):
        return json.dumps(
            {"name": self.name, "time": self.time, "data": self.data, "sequence": self.sequence},
            sort_keys=True,
        )


class Bus(object):
    """Calls handlers in order of priority; remembers the last `capacity` events."""

    def __init__(self, capacity=100):
        if capacity < 1:
            raise InvalidValue("capacity must be at least 1")
        self.capacity = capacity
        self.failures = []
        self._handlers = []
        self._journal = []
        self._sequence = 0
        self._added = 0

    def subscribe(self, pattern, handler, priority=0):
        """Call `handler` for names that match; returns a function that unsubscribes."""
        self._added = self._added + 1
        entry = (-priority, self._added, pattern, handler)
        self._handlers.append(entry)
        self._handlers.sort(key=lambda item: (item[0], item[1]))

        def unsubscribe():
            if entry in self._handlers:
                self._handlers.remove(entry)
                return True
            else:
                return False

        return unsubscribe

    def publish(self, name, time, data={}):
        """Journal an event and hand it to its handlers; returns how many took it."""
        event = Event(name, time, data)
        self._sequence = self._sequence + 1
        event.sequence = self._sequence
        self._journal.append(event)
        if len(self._journal) > self.capacity:
            self._journal = self._journal[len(self._journal) - self.capacity :]
        count = 0
        for entry in list(self._handlers):
            if fnmatch.fnmatchcase(name, entry[2]):
                try:
                    entry[3](event)
                    count = count + 1
                except Exception as error:
                    self.failures.append("%s: %s" % (event.name, error))
        return count

    def replay(self, handler, pattern="*", since=0):
        """Hand journaled events with a sequence above `since` to a handler."""
        count = 0
        for event in self._journal:
            if event.sequence > since:
                if fnmatch.fnmatchcase(event.name, pattern):
                    handler(event)
                    count = count + 1
        return count

    def last(self, pattern="*"):
        found = None
        for event in self._journal:
            if fnmatch.fnmatchcase(event.name, pattern):
                found = event
        return found

    def __len__(self):
        return len(self._journal)


def dump(events, path):
    """Write events as JSON lines."""
    out = open(path, "w")
    for event in events:
        out.write("%s\n" % event.to_json())
    out.close()


def load(path):
    """Read what `dump` wrote; blank lines are skipped."""
    events = []
    source = open(path)
    number = 0
    for line in source.readlines():
        number = number + 1
        if line.strip() == "":
            continue
        try:
            record = json.loads(line)
            event = Event(record["name"], record["time"], record["data"])
            event.sequence = record["sequence"]
        except (ValueError, KeyError):
            raise InvalidValue("line %d is not an event" % number)
        events.append(event)
    source.close()
    return events


def rate_per_minute(events):
    """Events per minute over their time span, rounded down; 0 for fewer than two."""
    if len(events) < 2:
        return 0
    else:
        first = min([event.time for event in events])
        span = max([event.time for event in events]) - first
        if span == 0:
            return 0
        else:
            return len(events) * 60 // span
