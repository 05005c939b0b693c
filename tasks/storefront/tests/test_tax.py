import pytest

from storefront.errors import InvalidValue
from storefront.money import Money
from storefront.tax import (
    RATES,
    TaxLine,
    format_rate,
    rate_for,
    split_gross,
    summarize,
    tax_on_net,
    total_tax,
    validate_vat_id,
)


def test_tax_line():
    line = TaxLine(1900, Money(100), Money(19))
    assert line.gross == Money(119)
    assert line == TaxLine(1900, Money(100), Money(19))
    assert line != TaxLine(700, Money(100), Money(19))
    assert line != TaxLine(1900, Money(101), Money(19))
    assert line != TaxLine(1900, Money(100), Money(18))
    assert line.__eq__(1900) is NotImplemented
    assert repr(line) == "TaxLine(1900, €1.00, €0.19)"


@pytest.mark.parametrize(
    ("country", "tax_class", "business", "seller", "rate"),
    [
        ("DE", "standard", False, "DE", 1900),
        ("FR", "reduced", False, "DE", 550),
        ("GB", "zero", False, "DE", 0),
        ("FR", "standard", True, "DE", 0),
        ("DE", "reduced", True, "DE", 700),
        ("FR", "standard", True, "FR", 2000),
        ("DE", "standard", True, "FR", 0),
        ("FR", "standard", False, "FR", 2000),
        ("US", "standard", False, "DE", 0),
        ("US", "whatever", False, "DE", 0),
        ("FR", "whatever", True, "DE", 0),
    ],
)
def test_rate_for(country, tax_class, business, seller, rate):
    assert rate_for(country, tax_class, business, seller) == rate


def test_rate_defaults():
    assert rate_for("NL") == 2100
    assert rate_for("DE", business=True) == 1900


@pytest.mark.parametrize("business", [True, False])
def test_unknown_tax_class(business):
    with pytest.raises(InvalidValue, match="^unknown tax class 'luxury'$"):
        rate_for("DE", "luxury", business)


def test_tax_on_net_rounds_half_up():
    assert tax_on_net(Money(10000), 1900) == Money(1900)
    assert tax_on_net(Money(50), 1900) == Money(10)
    assert tax_on_net(Money(50), 700) == Money(4)
    assert tax_on_net(Money(10), 500) == Money(1)


def test_split_gross_adds_up():
    net, tax = split_gross(Money(11900), 1900)
    assert (net, tax) == (Money(10000), Money(1900))
    for amount in range(50):
        net, tax = split_gross(Money(amount), 550)
        assert net + tax == Money(amount)
    assert split_gross(Money(3), 10000) == (Money(1), Money(2))


def test_summarize_net_prices():
    items = [(Money(1000), "reduced"), (Money(500), "standard"), (Money(250), "standard")]
    assert summarize(items, "DE") == [
        TaxLine(1900, Money(750), Money(143)),
        TaxLine(700, Money(1000), Money(70)),
    ]


def test_summarize_gross_prices():
    assert summarize([(Money(1190), "standard")], "DE", inclusive=True) == [
        TaxLine(1900, Money(1000), Money(190))
    ]


def test_summarize_rounds_once_per_rate():
    items = [(Money(3), "standard")] * 3
    assert summarize(items, "DE") == [TaxLine(1900, Money(9), Money(2))]


def test_summarize_reverse_charge():
    items = [(Money(100), "standard"), (Money(50), "reduced")]
    assert summarize(items, "FR", business=True) == [TaxLine(0, Money(150), Money(0))]
    assert summarize(items[:1], "FR", True, "FR") == [TaxLine(2000, Money(100), Money(20))]


def test_summarize_currency():
    lines = summarize([(Money(100, "GBP"), "standard")], "GB", currency="GBP")
    assert lines == [TaxLine(2000, Money(100, "GBP"), Money(20, "GBP"))]
    with pytest.raises(InvalidValue, match="^cannot mix"):
        summarize([(Money(100, "GBP"), "standard")], "GB")
    assert summarize([], "DE") == []


def test_total_tax():
    lines = [TaxLine(1, Money(1), Money(2)), TaxLine(2, Money(1), Money(3))]
    assert total_tax(lines) == Money(5)
    assert total_tax([], "USD") == Money(0, "USD")


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (1900, "19 %"),
        (550, "5.5 %"),
        (0, "0 %"),
        (825, "8.25 %"),
        (705, "7.05 %"),
        (2010, "20.1 %"),
    ],
)
def test_format_rate(rate, text):
    assert format_rate(rate) == text


@pytest.mark.parametrize(
    ("vat_id", "valid"),
    [
        ("DE12345678", True),
        ("de 123.456.78", True),
        ("DE1234567", False),
        ("DE123456789012", True),
        ("DE1234567890123", False),
        ("FR12345678", False),
        ("DE1234_5678", False),
        ("DE", False),
    ],
)
def test_validate_vat_id(vat_id, valid):
    assert validate_vat_id(vat_id, "DE") is valid


def test_rates():
    assert RATES == {
        "DE": {"standard": 1900, "reduced": 700, "zero": 0},
        "FR": {"standard": 2000, "reduced": 550, "zero": 0},
        "NL": {"standard": 2100, "reduced": 900, "zero": 0},
        "GB": {"standard": 2000, "reduced": 500, "zero": 0},
    }
