import pytest

from storefront.errors import InvalidTransition, InvalidValue
from storefront.money import Money
from storefront.orders import (
    CANCELLED,
    DELIVERED,
    NEW,
    PACKED,
    PAID,
    RETURNED,
    SHIPPED,
    STATES,
    Order,
    OrderLine,
    can_move,
    count_by_state,
    next_number,
    overdue,
)

ALLOWED = {
    (NEW, PAID),
    (NEW, CANCELLED),
    (PAID, PACKED),
    (PAID, CANCELLED),
    (PACKED, SHIPPED),
    (PACKED, CANCELLED),
    (SHIPPED, DELIVERED),
    (SHIPPED, RETURNED),
    (DELIVERED, RETURNED),
}


def make(number="SO-1", *states, now=0, step=10):
    order = Order(number, [OrderLine("a", 2, Money(150)), OrderLine("b", 1, Money(99))], now)
    for index, state in enumerate(states, start=1):
        order.move(state, now + index * step)
    return order


def test_states():
    assert STATES == ["new", "paid", "packed", "shipped", "delivered", "cancelled", "returned"]


@pytest.mark.parametrize("current", STATES)
def test_life_cycle(current):
    assert {target for target in STATES if can_move(current, target)} == {
        target for start, target in ALLOWED if start == current
    }


def test_life_cycle_answers_are_booleans():
    assert can_move(NEW, PAID) is True
    assert can_move(NEW, SHIPPED) is False
    assert can_move("lost", PAID) is False


def test_line():
    assert OrderLine("a", 3, Money(50)).amount == Money(150)
    assert OrderLine("a", 1, Money(50)).quantity == 1
    with pytest.raises(InvalidValue, match=r"^quantity must be at least 1 \(sku=a\)"):
        OrderLine("a", 0, Money(50))


def test_new_order():
    order = make()
    assert (order.state, order.history) == (NEW, [(0, NEW)])
    assert order.total() == Money(399)


def test_total_keeps_the_currency():
    assert Order("SO-1", [OrderLine("a", 1, Money(5, "USD"))]).total() == Money(5, "USD")


def test_order_needs_lines():
    with pytest.raises(InvalidValue, match=r"^an order needs a line \(order=SO-1\)"):
        Order("SO-1", [])


def test_move_records_history():
    order = make("SO-1", PAID, PACKED)
    assert order.state == PACKED
    assert order.history == [(0, NEW), (10, PAID), (20, PACKED)]


def test_move_refuses_steps_outside_the_life_cycle():
    order = make()
    with pytest.raises(InvalidTransition, match=r"^new cannot become shipped \(order=SO-1\)$"):
        order.move(SHIPPED, 1)
    with pytest.raises(InvalidValue, match="^unknown state 'lost'$"):
        order.move("lost", 1)
    assert order.history == [(0, NEW)]


def test_time_cannot_run_backwards():
    order = make("SO-1", PAID)
    with pytest.raises(InvalidValue, match="^time runs backwards"):
        order.move(PACKED, 9)
    order.move(PACKED, 10)
    assert order.state == PACKED


def test_listeners():
    order, seen = make(), []
    order.on_change(lambda *args: seen.append(args))
    order.on_change(lambda *args: seen.append("second"))
    order.move(PAID, 5)
    assert seen == [(order, NEW, PAID), "second"]


def test_entered():
    order = make("SO-1", PAID, now=3)
    assert (order.entered(NEW), order.entered(PAID), order.entered(SHIPPED)) == (3, 13, None)


def test_duration():
    order = make("SO-1", PAID, PACKED)
    assert order.duration(NEW, PACKED) == 20
    assert order.duration(PAID, PACKED) == 10
    assert order.duration(NEW, SHIPPED) is None
    assert order.duration(SHIPPED, NEW) is None


@pytest.mark.parametrize(
    ("states", "is_open"),
    [
        ([], True),
        ([PAID, PACKED, SHIPPED], True),
        ([PAID, PACKED, SHIPPED, DELIVERED], False),
        ([CANCELLED], False),
        ([PAID, PACKED, SHIPPED, RETURNED], False),
    ],
)
def test_is_open(states, is_open):
    assert make("SO-1", *states).is_open is is_open


def test_next_number():
    assert next_number(2024, 17) == "SO-2024-000017"
    assert next_number(24, 1, "CN") == "CN-0024-000001"
    with pytest.raises(InvalidValue, match="^sequence starts at 1"):
        next_number(2024, 0)


def test_count_by_state():
    counts = count_by_state([make("1", CANCELLED), make("2"), make("3", PAID), make("4")])
    assert list(counts.items()) == [(NEW, 2), (PAID, 1), (CANCELLED, 1)]
    assert count_by_state([]) == {}


def test_overdue():
    orders = [
        make("1", PAID, now=0, step=5),
        make("2", PAID, now=0, step=4),
        make("3", PAID, now=0, step=6),
        make("4", PAID, PACKED),
        make("5"),
    ]
    assert overdue(orders, 106, 100) == ["2", "1"]
    assert overdue(orders, 107, 100) == ["2", "1", "3"]
    assert overdue(orders, 172804) == []
    assert overdue(orders, 172805) == ["2"]


def test_overdue_looks_at_paid_orders_only():
    moved_on = [make("1"), make("2", PAID, PACKED), make("3", PAID, CANCELLED)]
    assert overdue(moved_on, 10**9) == []


def test_overdue_breaks_ties_by_number():
    assert overdue([make("9", PAID), make("3", PAID)], 500, 100) == ["3", "9"]
