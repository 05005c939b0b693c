import pytest

from storefront.catalog import Product
from storefront.errors import InvalidValue
from storefront.money import Money
from storefront.pricing import (
    GROUP_PERCENT,
    PriceList,
    break_percent,
    line_price,
    margin_percent,
    parse_breaks,
    unit_price,
)
from storefront.sku import Sku, format_sku

SHIRT = format_sku(Sku("SHI", 17, "M"))
HAT = format_sku(Sku("HAT", 1, "NA"))
BREAKS = [(10, 5), (50, 12)]


@pytest.fixture
def shirt():
    return Product(SHIRT, "Shirt", Money(1999))


def test_price_list_period():
    sale = PriceList("sale", {SHIRT: Money(1)}, 10, 20)
    assert [sale.price_of(SHIRT, now) for now in (9, 10, 19, 20)] == [
        None,
        Money(1),
        Money(1),
        None,
    ]
    assert sale.price_of(HAT, 15) is None


def test_price_list_without_end():
    assert PriceList("base", {SHIRT: Money(1)}).price_of(SHIRT, 10**9) == Money(1)
    assert PriceList("base", {SHIRT: Money(1)}).price_of(SHIRT) == Money(1)


@pytest.mark.parametrize("ends", [9, 10])
def test_price_list_must_last(ends):
    with pytest.raises(InvalidValue, match="^price list 'sale' ends before it starts$"):
        PriceList("sale", {}, 10, ends)
    assert PriceList("sale", {}, 10, 11).ends == 11


def test_parse_breaks():
    assert parse_breaks(" 50:12, 10:5 ,") == [(10, 5), (50, 12)]
    assert parse_breaks("") == []
    assert parse_breaks("2:1") == [(2, 1)]
    assert parse_breaks("2:90") == [(2, 90)]


@pytest.mark.parametrize("text", ["10", "a:5", "10:b", "10:", "1:2:3"])
def test_parse_breaks_rejects_garbage(text):
    with pytest.raises(InvalidValue, match=f"^bad quantity break '{text}'$"):
        parse_breaks(text)


@pytest.mark.parametrize("text", ["1:5", "2:0", "2:91"])
def test_parse_breaks_rejects_odd_values(text):
    with pytest.raises(InvalidValue, match=f"^quantity break out of range '{text}'$"):
        parse_breaks(text)


def test_parse_breaks_rejects_duplicates():
    with pytest.raises(InvalidValue, match="^quantity 5 appears twice$"):
        parse_breaks("2:1,5:3,5:4")
    with pytest.raises(InvalidValue, match="^quantity 2 appears twice$"):
        parse_breaks("2:1,2:3,5:4")


@pytest.mark.parametrize(("quantity", "percent"), [(9, 0), (10, 5), (49, 5), (50, 12), (500, 12)])
def test_break_percent(quantity, percent):
    assert break_percent(BREAKS, quantity) == percent
    assert break_percent(list(reversed(BREAKS)), quantity) == percent


def test_break_percent_takes_the_first_of_equal_starts():
    assert break_percent([(10, 5), (10, 9)], 10) == 5
    assert break_percent([(1, 3)], 1) == 3


def test_catalog_price(shirt):
    assert unit_price(shirt) == Money(1999)


@pytest.mark.parametrize(
    ("quantity", "group", "expected"),
    [
        (9, "retail", 1999),
        (10, "retail", 1899),
        (10, "trade", 1799),
        (50, "trade", 1759),
        (50, "staff", 1399),
        (1, "trade", 1799),
    ],
)
def test_better_of_break_and_group(shirt, quantity, group, expected):
    assert unit_price(shirt, quantity, group, BREAKS) == Money(expected)


def test_half_a_cent_is_rounded_up():
    assert unit_price(Product(HAT, "Hat", Money(5)), 1, "trade") == Money(5)
    assert unit_price(Product(HAT, "Hat", Money(15)), 1, "staff") == Money(11)
    assert unit_price(Product(HAT, "Hat", Money(25)), 1, "trade") == Money(23)
    assert unit_price(Product(HAT, "Hat", Money(45)), 1, "trade") == Money(41)


def test_lowest_valid_list_wins(shirt):
    lists = [
        PriceList("a", {SHIRT: Money(1500)}),
        PriceList("b", {SHIRT: Money(1400)}, 10, 20),
        PriceList("c", {SHIRT: Money(9999), HAT: Money(1)}),
    ]
    assert unit_price(shirt, lists=lists) == Money(1500)
    assert unit_price(shirt, lists=lists, now=10) == Money(1400)
    assert unit_price(shirt, lists=lists[2:]) == Money(1999)
    assert unit_price(shirt, 1, "staff", lists=lists) == Money(1050)


def test_unit_price_validation(shirt):
    with pytest.raises(InvalidValue, match="^quantity must be at least 1"):
        unit_price(shirt, 0)
    with pytest.raises(InvalidValue, match="^unknown customer group 'vip'$"):
        unit_price(shirt, 1, "vip")


def test_margin_percent():
    assert margin_percent(Money(1000), Money(750)) == 25
    assert margin_percent(Money(3), Money(2)) == 33
    assert margin_percent(Money(100), Money(150)) == -50
    assert margin_percent(Money(1), Money(0)) == 100
    assert margin_percent(Money(0), Money(5)) is None


def test_line_price_rounds_per_unit(shirt):
    assert line_price(shirt, 10, breaks=BREAKS) == Money(18990)
    assert line_price(shirt, 2) == Money(3998)


def test_groups():
    assert GROUP_PERCENT == {"retail": 100, "trade": 90, "staff": 70}
