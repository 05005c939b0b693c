import pytest

from storefront.errors import InvalidValue, NotFound, OutOfStock
from storefront.inventory import Inventory, Reservation


@pytest.fixture
def stock():
    return Inventory({"a": 10, "b": 2}, 100)


def test_levels_are_copied():
    levels = {"a": 1}
    stock = Inventory(levels)
    assert stock.receive("a", 1) == 2
    assert levels == {"a": 1}
    assert Inventory().on_hand("a") == 0


def test_default_hold():
    assert Inventory({"a": 1}).reserve("a", 1, 50).expires_at == 950


def test_receive(stock):
    assert stock.receive("a", 1) == 11
    assert stock.receive("new", 3) == 3
    assert (stock.on_hand("a"), stock.on_hand("new")) == (11, 3)


@pytest.mark.parametrize("quantity", [0, -1])
def test_quantities_must_be_positive(stock, quantity):
    with pytest.raises(InvalidValue, match=r"^quantity must be positive \(sku=a\)"):
        stock.receive("a", quantity)
    with pytest.raises(InvalidValue, match=r"^quantity must be positive \(sku=a\)"):
        stock.reserve("a", quantity)


def test_reserve(stock):
    first = stock.reserve("a", 3, 7)
    second = stock.reserve("b", 1)
    assert (first.id, first.sku, first.quantity, first.expires_at) == (1, "a", 3, 107)
    assert (second.id, second.expires_at) == (2, 100)
    assert (stock.reserved("a"), stock.available("a"), stock.on_hand("a")) == (3, 7, 10)
    assert (stock.reserved("b"), stock.reserved("c")) == (1, 0)
    assert repr(first) == "Reservation(1, 'a', 3)"


def test_reservations_of_one_sku_add_up(stock):
    stock.reserve("a", 3)
    stock.reserve("a", 4)
    assert stock.reserved("a") == 7
    assert stock.available("a") == 3


def test_reserve_up_to_the_last_unit(stock):
    stock.reserve("b", 2)
    with pytest.raises(OutOfStock) as caught:
        stock.reserve("b", 1)
    assert caught.value.details == {"sku": "b", "wanted": 1, "free": 0}


def test_reservations_end_on_the_second(stock):
    stock.reserve("b", 2, 0)
    assert stock.reserved("b", 99) == 2
    assert stock.reserved("b", 100) == 0
    assert stock.available("b", 100) == 2
    assert stock.reserve("b", 2, 100).id == 2


def test_reserve_all(stock):
    done = stock.reserve_all({"b": 1, "a": 2}, 5)
    assert [(item.sku, item.quantity, item.expires_at) for item in done] == [
        ("a", 2, 105),
        ("b", 1, 105),
    ]


def test_reserve_all_or_none(stock):
    with pytest.raises(OutOfStock):
        stock.reserve_all({"a": 2, "b": 3})
    assert (stock.reserved("a"), stock.reserved("b")) == (0, 0)
    with pytest.raises(InvalidValue):
        stock.reserve_all({"a": 2, "b": 0})
    assert stock.reserved("a") == 0


def test_release(stock):
    reservation = stock.reserve("a", 3)
    assert stock.release(reservation.id) is True
    assert stock.release(reservation.id) is False
    assert stock.available("a") == 10


def test_commit(stock):
    reservation = stock.reserve("a", 3)
    assert stock.commit(reservation.id, 99) == 7
    assert (stock.on_hand("a"), stock.reserved("a")) == (7, 0)
    with pytest.raises(NotFound, match=r"^no such reservation \(id=1\)"):
        stock.commit(reservation.id)


def test_commit_too_late(stock):
    reservation = stock.reserve("a", 3)
    with pytest.raises(OutOfStock, match=r"^reservation expired \(id=1\)"):
        stock.commit(reservation.id, 100)
    assert stock.on_hand("a") == 10
    with pytest.raises(NotFound):
        stock.commit(reservation.id, 0)


def test_expire(stock):
    stock.reserve("a", 1, 0)
    stock.reserve("a", 1, 1)
    stock.reserve("b", 1, 2)
    assert stock.expire(101) == [1, 2]
    assert stock.expire(101) == []
    assert stock.reserved("b", 101) == 1
    assert stock.release(1) is False


def test_low_stock(stock):
    stock.receive("c", 5)
    stock.receive("d", 4)
    assert stock.low_stock() == ["b", "d"]
    assert stock.low_stock(11) == ["b", "d", "c", "a"]
    stock.reserve("a", 10)
    assert stock.low_stock(2) == ["a"]
    assert stock.low_stock(2, 100) == []
    assert stock.low_stock(3, 100) == ["b"]


def test_reconcile(stock):
    assert stock.reconcile({"a": 8, "b": 2, "c": 3}) == {"a": -2, "c": 3}
    assert (stock.on_hand("a"), stock.on_hand("b"), stock.on_hand("c")) == (8, 2, 3)
    assert stock.reconcile({"a": 0}) == {"a": -8}
    with pytest.raises(InvalidValue, match="^a count cannot be negative"):
        stock.reconcile({"a": -1})


def test_reservation_is_a_plain_value():
    assert Reservation(5, "x", 1, 9).quantity == 1
