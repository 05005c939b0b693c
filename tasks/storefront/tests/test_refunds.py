import pytest

from storefront.errors import InvalidValue
from storefront.money import Money
from storefront.orders import DELIVERED, PACKED, PAID, RETURNED, SHIPPED, Order, OrderLine
from storefront.payments import Payment, Processor
from storefront.refunds import (
    WINDOW_S,
    ReturnItem,
    eligible,
    item_refund,
    quote,
    reason_stats,
    settle,
)


def make(*states):
    order = Order("SO-1", [OrderLine("a", 3, Money(1000)), OrderLine("b", 1, Money(333))])
    for state in states:
        order.move(state, 100)
    return order


@pytest.fixture
def delivered():
    return make(PAID, PACKED, SHIPPED, DELIVERED)


def test_item_conditions():
    item = ReturnItem("a", 1)
    assert (item.sku, item.quantity, item.condition) == ("a", 1, "new")
    with pytest.raises(InvalidValue, match="^unknown condition 'used'$"):
        ReturnItem("a", 1, "used")


def test_eligible_within_the_window(delivered):
    assert WINDOW_S == 2592000
    assert eligible(delivered, 100) is True
    assert eligible(delivered, 100 + WINDOW_S) is True
    assert eligible(delivered, 101 + WINDOW_S) is False


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], False),
        ([PAID], False),
        ([PAID, PACKED, SHIPPED], True),
        ([PAID, PACKED, SHIPPED, RETURNED], False),
    ],
)
def test_eligible_by_state(states, expected):
    assert eligible(make(*states), 10**9) is expected


@pytest.mark.parametrize(
    ("sku", "quantity", "condition", "amount"),
    [
        ("a", 1, "new", 1000),
        ("a", 3, "new", 3000),
        ("a", 2, "opened", 1600),
        ("b", 1, "opened", 266),
        ("b", 1, "new", 333),
        ("a", 3, "damaged", 0),
    ],
)
def test_item_refund(delivered, sku, quantity, condition, amount):
    assert item_refund(delivered, ReturnItem(sku, quantity, condition)) == Money(amount)


def test_item_refund_rounds_half_up():
    order = Order("SO-1", [OrderLine("a", 5, Money(1, "USD"))])
    assert item_refund(order, ReturnItem("a", 4, "opened")) == Money(3, "USD")
    assert item_refund(order, ReturnItem("a", 1, "damaged")) == Money(0, "USD")
    halves = Order("SO-1", [OrderLine("a", 1, Money(2))])
    assert item_refund(halves, ReturnItem("a", 1, "opened")) == Money(2)


@pytest.mark.parametrize("quantity", [0, 4])
def test_item_refund_checks_the_quantity(delivered, quantity):
    with pytest.raises(InvalidValue, match=r"^quantity was not ordered \(sku=a\)"):
        item_refund(delivered, ReturnItem("a", quantity))


def test_item_refund_checks_the_sku(delivered):
    with pytest.raises(InvalidValue, match=r"^not part of the order \(sku=z\)"):
        item_refund(delivered, ReturnItem("z", 1))


def test_quote_of_a_part(delivered):
    assert quote(delivered, [ReturnItem("a", 1)], 100, Money(490)) == {
        "goods": Money(1000),
        "shipping": Money(0),
        "fee": Money(0),
        "total": Money(1000),
        "complete": False,
    }


@pytest.mark.parametrize(
    ("items", "complete"),
    [
        ([("a", 3), ("b", 1)], True),
        ([("b", 1), ("a", 3)], True),
        ([("a", 2), ("b", 1)], False),
        ([("a", 3)], False),
        ([("b", 1)], False),
    ],
)
def test_shipping_is_paid_back_for_a_complete_return(delivered, items, complete):
    result = quote(delivered, [ReturnItem(*item) for item in items], 100, Money(490))
    assert result["complete"] is complete
    assert result["shipping"] == (Money(490) if complete else Money(0))
    assert result["total"] == result["goods"] + result["shipping"]


def test_complete_without_shipping(delivered):
    result = quote(delivered, [ReturnItem("a", 3), ReturnItem("b", 1)], 100)
    assert (result["shipping"], result["total"]) == (Money(0), Money(3333))


@pytest.mark.parametrize(
    ("fee", "charged", "rest"), [(0, 0, 333), (300, 300, 33), (333, 333, 0), (400, 333, 0)]
)
def test_fee_never_makes_it_negative(delivered, fee, charged, rest):
    result = quote(delivered, [ReturnItem("b", 1)], 100, fee=fee)
    assert (result["fee"], result["total"]) == (Money(charged), Money(rest))


def test_fee_also_comes_off_the_shipping():
    order = Order("SO-1", [OrderLine("a", 1, Money(100))])
    for state in (PAID, PACKED, SHIPPED):
        order.move(state, 1)
    result = quote(order, [ReturnItem("a", 1)], 1, Money(50), 140)
    assert (result["fee"], result["total"]) == (Money(140), Money(10))
    result = quote(order, [ReturnItem("a", 1)], 1, Money(50), 160)
    assert (result["fee"], result["total"]) == (Money(150), Money(0))


def test_quote_refuses(delivered):
    with pytest.raises(InvalidValue, match=r"^order cannot be returned \(order=SO-1\)"):
        quote(make(), [ReturnItem("a", 1)], 100)
    with pytest.raises(InvalidValue, match=r"^item appears twice \(sku=a\)"):
        quote(delivered, [ReturnItem("a", 1), ReturnItem("a", 2)], 100)


def paid(reference, amount):
    payment = Payment(reference, Money(amount))
    payment.captured = Money(amount)
    return payment


@pytest.fixture
def processor():
    return Processor(lambda action, reference, amount: "ok")


def test_settle_takes_the_latest_first(processor):
    payments = [paid("p1", 500), paid("p2", 300)]
    assert settle(processor, payments, Money(400)) == [("p2", Money(300)), ("p1", Money(100))]
    assert [payment.refunded for payment in payments] == [Money(100), Money(300)]
    assert processor.log == ["refund p2: ok", "refund p1: ok"]


def test_settle_stops_when_it_is_paid(processor):
    assert settle(processor, [paid("p1", 500), paid("p2", 300)], Money(300)) == [("p2", Money(300))]
    assert settle(processor, [paid("p1", 500), paid("p2", 300)], Money(1)) == [("p2", Money(1))]
    assert settle(processor, [paid("p1", 5)], Money(0)) == []


def test_settle_skips_what_was_paid_back_already(processor):
    empty = paid("p2", 300)
    empty.refunded = Money(300)
    assert settle(processor, [paid("p1", 1), empty], Money(1)) == [("p1", Money(1))]


def test_settle_sends_nothing_unless_covered(processor):
    with pytest.raises(InvalidValue, match="^payments do not cover the refund"):
        settle(processor, [paid("p1", 500)], Money(501))
    assert processor.log == []
    assert settle(processor, [paid("p1", 500)], Money(500)) == [("p1", Money(500))]


def test_reason_stats():
    reasons = ["Too small", " too small ", "late", "broken", "broken", "ugly"]
    assert list(reason_stats(reasons).items()) == [("broken", 2), ("too small", 2), ("other", 2)]
    assert reason_stats(reasons, 3) == {"other": 6}
    assert list(reason_stats(["b", "a"], 1).items()) == [("a", 1), ("b", 1)]
    assert reason_stats(["a", "a", "b"]) == {"a": 2, "other": 1}
    assert reason_stats([]) == {}
