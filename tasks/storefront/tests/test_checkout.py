import pytest

from storefront.addresses import Address
from storefront.cart import Cart, CartLine
from storefront.catalog import Catalog, Product
from storefront.checkout import MIN_ORDER, Checkout, Quote, savings_percent
from storefront.discounts import Promotion
from storefront.errors import InvalidValue, OutOfStock
from storefront.inventory import Inventory
from storefront.money import Money
from storefront.sku import Sku, format_sku

A = format_sku(Sku("SHI", 1, "M"))
B = format_sku(Sku("HAT", 2, "NA"))
HOME = Address("Ada", "Street 1", "City", "12345", "DE")


@pytest.fixture
def catalog():
    return Catalog([Product(A, "Shirt", Money(1000)), Product(B, "Hat", Money(500))])


@pytest.fixture
def cart(catalog):
    return Cart(catalog, lines=[CartLine(A, 2), CartLine(B, 1)])


@pytest.fixture
def stock():
    return Inventory({A: 5, B: 5}, 100)


@pytest.fixture
def checkout(stock):
    return Checkout(stock, [Promotion("ten", "percent", 10)])


def test_quote(checkout, cart):
    quote = checkout.quote(cart, Money(490))
    assert [(line.sku, line.quantity, line.unit) for line in quote.lines] == [
        (A, 2, Money(1000)),
        (B, 1, Money(500)),
    ]
    assert (quote.subtotal, quote.discounts) == (Money(2500), [("TEN", Money(250))])
    assert (quote.discount, quote.shipping, quote.total) == (Money(250), Money(490), Money(2740))


def test_quote_without_shipping(stock, cart):
    quote = Checkout(stock).quote(cart)
    assert (quote.discounts, quote.shipping, quote.total) == ([], Money(0), Money(2500))


def test_quote_looks_at_the_time(stock, cart):
    checkout = Checkout(stock, [Promotion("ten", "percent", 10, ends=50)])
    assert checkout.quote(cart, now=49).discount == Money(250)
    assert checkout.quote(cart, now=50).discount == Money(0)


def test_promotions_are_copied(stock, cart):
    promotions = [Promotion("ten", "percent", 10)]
    checkout = Checkout(stock, promotions)
    promotions.clear()
    assert checkout.quote(cart).discount == Money(250)
    assert Checkout(stock).promotions == []


def test_no_blockers(checkout, cart):
    assert checkout.blockers(cart, HOME) == []


def test_empty_cart(checkout, catalog):
    assert checkout.blockers(Cart(catalog), HOME) == ["cart is empty"]


def test_minimum_order(checkout, catalog, cart):
    assert Money(500) == MIN_ORDER
    assert checkout.blockers(Cart(catalog, lines=[CartLine(B, 1)]), HOME) == []
    catalog.get(B).price = Money(499)
    assert checkout.blockers(Cart(catalog, lines=[CartLine(B, 1)]), HOME) == [
        "minimum order is €5.00"
    ]


def test_stock_blockers(checkout, stock, cart):
    stock.reserve(A, 4)
    stock.reserve(B, 5)
    assert checkout.blockers(cart, HOME) == [
        f"only 1 of {A} left",
        f"{B} is sold out",
    ]
    assert checkout.blockers(cart, HOME, 100) == []


def test_stock_that_is_just_enough(checkout, stock, cart):
    stock.reserve(A, 3)
    assert checkout.blockers(cart, HOME) == []


def test_oversold_stock(checkout, stock, cart):
    stock.reserve(B, 5)
    stock.reconcile({B: 3})
    assert checkout.blockers(cart, HOME) == [f"{B} is sold out"]


def test_stale_and_address_blockers(checkout, catalog, cart):
    catalog.get(A).active = False
    nowhere = Address("Ada", "Street 1", "", "12345", "DE")
    assert checkout.blockers(cart, nowhere) == [
        f"{A} is not for sale",
        "address: city is missing",
    ]


def test_place(checkout, stock, cart):
    order, reservations = checkout.place(cart, HOME, Money(490), 7)
    assert order.number == "SO-2024-000001"
    assert order.history == [(7, "new")]
    assert [(line.sku, line.quantity, line.unit) for line in order.lines] == [
        (A, 2, Money(900)),
        (B, 1, Money(450)),
    ]
    assert [(item.sku, item.quantity, item.expires_at) for item in reservations] == [
        (B, 1, 107),
        (A, 2, 107),
    ]
    assert (stock.available(A), stock.available(B), len(cart)) == (3, 4, 0)
    assert checkout.last_number == 1


def test_numbers_go_on(stock, cart):
    checkout = Checkout(stock, [], 2025, 41)
    order, _ = checkout.place(cart, HOME)
    assert order.number == "SO-2025-000042"
    assert order.history == [(0, "new")]
    assert checkout.last_number == 42


def test_discount_per_unit_is_rounded_down(stock, cart):
    cart.update(A, 3)
    order, _ = Checkout(stock, [Promotion("x", "fixed", 100)]).place(cart, HOME)
    assert [line.unit for line in order.lines] == [Money(972), Money(486)]


def test_place_is_blocked(checkout, stock, catalog):
    with pytest.raises(InvalidValue, match="^cart is empty; address: city is missing$"):
        checkout.place(Cart(catalog), Address("Ada", "Street 1", "", "12345", "DE"))
    assert checkout.last_number == 0


def test_place_looks_at_the_time(stock, cart):
    stock.reserve(A, 5)
    checkout = Checkout(stock, [Promotion("ten", "percent", 10, ends=100)])
    with pytest.raises(InvalidValue, match=f"^{A} is sold out$"):
        checkout.place(cart, HOME, now=99)
    order, _ = checkout.place(cart, HOME, now=100)
    assert order.total() == Money(2500)


def test_nothing_is_kept_when_the_stock_runs_out(checkout, stock, cart, monkeypatch):
    monkeypatch.setattr(Inventory, "available", lambda self, sku, now=0: 9 if sku == B else 0)
    monkeypatch.setattr(Checkout, "blockers", lambda self, cart, address, now=0: [])
    with pytest.raises(OutOfStock):
        checkout.place(cart, HOME)
    assert (len(cart), checkout.last_number, stock.reserved(B)) == (2, 0, 0)


def test_ship(checkout, stock, cart):
    _, reservations = checkout.place(cart, HOME)
    assert checkout.ship(reservations, 99) == []
    assert (stock.on_hand(A), stock.on_hand(B)) == (3, 4)


def test_ship_too_late(checkout, stock, cart):
    _, reservations = checkout.place(cart, HOME)
    assert checkout.ship(reservations, 100) == [B, A]
    assert stock.on_hand(A) == 5


def test_savings_percent():
    assert savings_percent(Quote([], Money(300), [("A", Money(100))], Money(0))) == 33
    assert savings_percent(Quote([], Money(1), [("A", Money(1))], Money(0))) == 100
    assert savings_percent(Quote([], Money(300), [], Money(0))) == 0
    assert savings_percent(Quote([], Money(0), [], Money(0))) == 0


def test_quote_sums_its_discounts():
    quote = Quote([], Money(300), [("A", Money(100)), ("B", Money(50))], Money(20))
    assert (quote.discount, quote.total) == (Money(150), Money(170))
