import json

import pytest

from storefront.errors import InvalidValue
from storefront.events import Bus, Event, dump, load, rate_per_minute


def test_event():
    data = {"id": 1}
    event = Event("order.paid", 5, data)
    data["id"] = 2
    assert (event.name, event.time, event.data, event.sequence) == ("order.paid", 5, {"id": 1}, 0)
    assert Event("a", 1).data == {}


@pytest.mark.parametrize("name", ["", ".a", "a.", "a..b"])
def test_event_names(name):
    with pytest.raises(InvalidValue, match="^bad event name '"):
        Event(name, 0)


def test_to_json():
    text = Event("a", 1, {"z": 1, "b": 2}).to_json()
    assert text == '{"data": {"b": 2, "z": 1}, "name": "a", "sequence": 0, "time": 1}'


def test_publish_counts_and_numbers():
    bus, seen = Bus(), []
    bus.subscribe("order.*", seen.append)
    assert bus.publish("order.paid", 1, {"id": 7}) == 1
    assert bus.publish("stock.low", 2) == 0
    assert bus.publish("order.sent", 3) == 1
    assert [(e.name, e.time, e.data, e.sequence) for e in seen] == [
        ("order.paid", 1, {"id": 7}, 1),
        ("order.sent", 3, {}, 3),
    ]
    assert len(bus) == 3


def test_handlers_run_by_priority_then_age():
    bus, seen = Bus(), []
    bus.subscribe("*", lambda event: seen.append("low"), -1)
    bus.subscribe("*", lambda event: seen.append("first"))
    bus.subscribe("*", lambda event: seen.append("second"))
    bus.subscribe("*", lambda event: seen.append("high"), 5)
    assert bus.publish("a", 1) == 4
    assert seen == ["high", "first", "second", "low"]


def test_unsubscribe():
    bus, seen = Bus(), []
    stop = bus.subscribe("*", lambda event: seen.append("stopped"))
    other = bus.subscribe("*", lambda event: seen.append("other"))
    assert stop() is True
    assert stop() is False
    assert bus.publish("a", 1) == 1
    assert seen == ["other"]
    assert other() is True
    assert bus.publish("a", 2) == 0


def test_handler_may_unsubscribe_itself():
    bus, seen = Bus(), []
    stops = []
    stops.append(bus.subscribe("*", lambda event: stops[0]()))
    bus.subscribe("*", seen.append)
    assert bus.publish("a", 1) == 2
    assert len(seen) == 1


def test_failing_handlers_do_not_stop_the_others():
    bus, seen = Bus(), []

    def broken(event):
        raise ValueError("no disk")

    bus.subscribe("*", broken)
    bus.subscribe("*", seen.append)
    assert bus.publish("order.paid", 1) == 1
    assert bus.failures == ["order.paid: no disk"]
    assert len(seen) == 1


def test_journal_is_bounded():
    bus = Bus(2)
    for time in range(4):
        bus.publish("tick", time)
    seen = []
    assert len(bus) == 2
    assert bus.replay(seen.append) == 2
    assert [(event.time, event.sequence) for event in seen] == [(2, 3), (3, 4)]


def test_capacity():
    assert Bus().capacity == 100
    assert Bus(1).capacity == 1
    with pytest.raises(InvalidValue, match="^capacity must be at least 1"):
        Bus(0)


def test_replay():
    bus, seen = Bus(), []
    for name in ("order.new", "stock.low", "order.paid"):
        bus.publish(name, 1)
    assert bus.replay(seen.append, "order.*") == 2
    assert bus.replay(seen.append, "order.*", 1) == 1
    assert bus.replay(seen.append, since=3) == 0
    assert [event.name for event in seen] == ["order.new", "order.paid", "order.paid"]


def test_last():
    bus = Bus()
    assert bus.last() is None
    bus.publish("order.new", 1)
    bus.publish("order.new", 2)
    bus.publish("stock.low", 3)
    assert bus.last("order.*").time == 2
    assert bus.last().name == "stock.low"
    assert bus.last("x") is None


def test_dump_and_load(tmp_path):
    path = tmp_path / "events.jsonl"
    bus, seen = Bus(), []
    bus.subscribe("*", seen.append)
    bus.publish("order.new", 1, {"id": "ä"})
    bus.publish("order.paid", 2)
    dump(seen, path)
    assert path.read_text().count("\n") == 2
    loaded = load(str(path))
    assert [event.to_json() for event in loaded] == [event.to_json() for event in seen]


def test_load_skips_blank_lines(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("\n{}\n  \n".format(Event("a", 1).to_json()))
    assert [event.name for event in load(path)] == ["a"]


@pytest.mark.parametrize(
    "line", ["{", json.dumps({"name": "a"}), json.dumps({"name": "a", "time": 1, "data": {}})]
)
def test_load_names_the_bad_line(tmp_path, line):
    path = tmp_path / "events.jsonl"
    path.write_text("{}\n\n{}\n".format(Event("a", 1).to_json(), line))
    with pytest.raises(InvalidValue, match="^line 3 is not an event$"):
        load(path)


def test_rate_per_minute():
    assert rate_per_minute([]) == 0
    assert rate_per_minute([Event("a", 1)]) == 0
    assert rate_per_minute([Event("a", 5), Event("a", 5)]) == 0
    assert rate_per_minute([Event("a", 5), Event("a", 6)]) == 120
    assert rate_per_minute([Event("a", 47), Event("a", 0), Event("a", 9)]) == 3
