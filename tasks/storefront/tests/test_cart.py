import pytest

from storefront.cart import MAX_LINES, MAX_QUANTITY, Cart, CartLine
from storefront.catalog import Catalog, Product
from storefront.errors import InvalidValue, NotFound
from storefront.money import Money
from storefront.pricing import PriceList
from storefront.sku import Sku, format_sku


def sku(style):
    return format_sku(Sku("SHI", style, "M"))


A, B, C = sku(1), sku(2), sku(3)


@pytest.fixture
def catalog():
    return Catalog(
        [
            Product(A, "Shirt", Money(1000), 200),
            Product(B, "Other", Money(550), 35),
            Product(C, "Gone", Money(100), active=False),
        ]
    )


@pytest.fixture
def cart(catalog):
    return Cart(catalog, lines=[CartLine(A, 2, "gift"), CartLine(B, 1)])


def state(cart):
    return [(line.sku, line.quantity, line.note) for line in cart.lines()]


def test_lines_in_the_order_they_came(cart):
    assert state(cart) == [(A, 2, "gift"), (B, 1, "")]
    assert len(cart) == 2
    assert cart.group == "retail"


def test_add_returns_the_line(cart):
    line = cart.add(B.lower())
    assert (line.sku, line.quantity, line.note) == (B, 2, "")
    assert len(cart) == 2
    new = Cart(cart.catalog).add(A, 3, "n")
    assert (new.sku, new.quantity, new.note) == (A, 3, "n")


def test_add_keeps_a_note_unless_there_is_a_new_one(cart):
    assert cart.add(A).note == "gift"
    assert cart.add(A, note="birthday").note == "birthday"


@pytest.mark.parametrize("quantity", [0, -1])
def test_add_needs_units(cart, quantity):
    with pytest.raises(InvalidValue, match="^quantity must be positive"):
        cart.add(A, quantity)


def test_add_refuses_what_is_not_for_sale(cart):
    with pytest.raises(InvalidValue, match=rf"^product is not for sale \(sku={C}\)"):
        cart.add(C)
    with pytest.raises(NotFound):
        cart.add(sku(9))


def test_quantity_limit(cart):
    assert cart.add(A, 97).quantity == MAX_QUANTITY == 99
    with pytest.raises(InvalidValue, match=rf"^at most 99 units a line \(sku={A}\)$"):
        cart.add(A)
    empty = Cart(cart.catalog)
    with pytest.raises(InvalidValue, match=rf"^at most 99 units a line \(sku={A}\)$"):
        empty.add(A, 100)
    assert len(empty) == 0
    assert empty.add(A, 99).quantity == 99


def test_line_limit():
    catalog = Catalog([Product(sku(n), "P", Money(1)) for n in range(1, 52)])
    cart = Cart(catalog, lines=[CartLine(sku(n), 1) for n in range(1, 51)])
    assert len(cart) == MAX_LINES == 50
    with pytest.raises(InvalidValue, match="^at most 50 lines$"):
        cart.add(sku(51))
    assert cart.add(sku(50)).quantity == 2


def test_update(cart):
    cart.update(A, 99)
    cart.update(B, 0)
    assert state(cart) == [(A, 99, "gift")]
    cart.update(A, 1)
    assert state(cart) == [(A, 1, "gift")]


@pytest.mark.parametrize("quantity", [-1, 100])
def test_update_out_of_range(cart, quantity):
    with pytest.raises(InvalidValue, match="^quantity out of range"):
        cart.update(A, quantity)


def test_update_unknown_line(cart):
    with pytest.raises(NotFound, match=rf"^not in the cart \(sku={C}\)"):
        cart.update(C, 1)


def test_clear(cart):
    assert cart.clear() == 2
    assert (len(cart), cart.quantity(), cart.clear()) == (0, 0, 0)


def test_quantity_and_weight(cart):
    assert cart.quantity() == 3
    assert cart.weight_g() == 435


def test_priced(cart):
    assert [(line.sku, unit, amount) for line, unit, amount in cart.priced()] == [
        (A, Money(1000), Money(2000)),
        (B, Money(550), Money(550)),
    ]


def test_priced_with_group_breaks_and_lists(cart):
    cart.group = "trade"
    assert [amount for _, _, amount in cart.priced([(2, 20)])] == [Money(1600), Money(495)]
    cart.group = "retail"
    sale = PriceList("sale", {B: Money(500)}, 10)
    assert [unit for _, unit, _ in cart.priced([], [sale], 10)] == [Money(1000), Money(500)]
    assert [unit for _, unit, _ in cart.priced([], [sale], 9)] == [Money(1000), Money(550)]


def test_subtotal(cart):
    sale = PriceList("sale", {B: Money(500)}, 10)
    assert cart.subtotal() == Money(2550)
    assert cart.subtotal([(2, 20)]) == Money(2150)
    assert cart.subtotal([], [sale], 10) == Money(2500)
    assert Cart(cart.catalog).subtotal() == Money(0)


def test_merge(cart, catalog):
    guest = Cart(catalog, lines=[CartLine(B, 99), CartLine(A, 1, "new")])
    assert cart.merge(guest) == [B]
    assert state(cart) == [(A, 3, "new"), (B, 1, "")]


def test_merge_skips_unknown_products(cart):
    other = Catalog([Product(sku(9), "Elsewhere", Money(1))])
    assert cart.merge(Cart(other, lines=[CartLine(sku(9), 1)])) == [sku(9)]


def test_stale(cart, catalog):
    assert cart.stale() == []
    catalog.get(A).active = False
    assert cart.stale() == [A]
    catalog.remove(B)
    assert cart.stale() == [A, B]
