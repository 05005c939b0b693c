import pytest

from storefront.errors import InvalidValue
from storefront.money import EXPONENTS, SYMBOLS, Money, as_money, divide, total


@pytest.mark.parametrize(
    ("numerator", "mode", "expected"),
    [
        (7, "down", 0),
        (-1, "down", -1),
        (10, "up", 1),
        (11, "up", 2),
        (1, "up", 1),
        (-11, "up", -1),
        (14, "half_up", 1),
        (15, "half_up", 2),
        (16, "half_up", 2),
        (25, "half_up", 3),
        (14, "half_even", 1),
        (15, "half_even", 2),
        (16, "half_even", 2),
        (5, "half_even", 0),
        (25, "half_even", 2),
        (35, "half_even", 4),
        (45, "half_even", 4),
        (26, "half_even", 3),
        (-15, "half_even", -2),
        (-25, "half_even", -2),
        (20, "half_even", 2),
        (24, "half_even", 2),
    ],
)
def test_divide_by_ten(numerator, mode, expected):
    assert divide(numerator, 10, mode) == expected


def test_divide_by_an_odd_number():
    assert [divide(n, 3) for n in range(7)] == [0, 0, 1, 1, 1, 2, 2]
    assert [divide(n, 3, "half_up") for n in range(4)] == [0, 0, 1, 1]
    assert divide(7, 1, "up") == 7


@pytest.mark.parametrize("denominator", [0, -1])
def test_divide_needs_a_positive_denominator(denominator):
    with pytest.raises(InvalidValue, match="^denominator must be positive"):
        divide(1, denominator)


def test_divide_rejects_unknown_modes():
    with pytest.raises(InvalidValue, match="^unknown rounding mode 'ceiling'$"):
        divide(1, 2, "ceiling")


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("12.50", "EUR", 1250),
        ("12.5", "EUR", 1250),
        ("12", "EUR", 1200),
        ("12.", "EUR", 1200),
        (" -3 ", "EUR", -300),
        ("-0.05", "EUR", -5),
        ("7", "JPY", 7),
        ("1.234", "KWD", 1234),
        ("0.07", "USD", 7),
    ],
)
def test_parse(text, currency, amount):
    money = Money.parse(text, currency)
    assert (money.amount, money.currency) == (amount, currency)


@pytest.mark.parametrize("text", ["", "-", "abc", "1.234", "1,5", "--1", ".5", "1.x", "1.2.3"])
def test_parse_rejects(text):
    with pytest.raises(InvalidValue, match="^not an amount of EUR: "):
        Money.parse(text)


def test_parse_rejects_cents_of_a_currency_without_them():
    with pytest.raises(InvalidValue, match="^not an amount of JPY: '7.0'"):
        Money.parse("7.0", "JPY")


def test_unknown_currency():
    with pytest.raises(InvalidValue, match="^unknown currency 'XXX'$"):
        Money(1, "XXX")
    with pytest.raises(InvalidValue, match="^unknown currency"):
        Money.parse("1", "XXX")


def test_arithmetic():
    assert Money(5) + Money(7) == Money(12)
    assert Money(5) - Money(7) == Money(-2)
    assert Money(5) * 3 == Money(15)
    assert -Money(5, "USD") == Money(-5, "USD")


@pytest.mark.parametrize("operation", ["__add__", "__sub__", "__lt__", "__le__"])
def test_currencies_do_not_mix(operation):
    with pytest.raises(InvalidValue, match="^cannot mix EUR and USD$"):
        getattr(Money(1), operation)(Money(1, "USD"))


def test_equality_and_hash():
    assert Money(1) == Money(1)
    assert Money(1) != Money(2)
    assert Money(1) != Money(1, "USD")
    assert Money(1) != 1
    assert len({Money(1), Money(1), Money(1, "USD")}) == 2


def test_order():
    assert Money(1) < Money(2)
    assert not Money(2) < Money(2)
    assert Money(2) <= Money(2)
    assert not Money(3) <= Money(2)


def test_truth():
    assert Money(1)
    assert Money(-1)
    assert not Money(0)


def test_repr():
    assert repr(Money(-5, "GBP")) == "Money(-5, 'GBP')"


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money(1250), "€12.50"),
        (Money(-5), "-€0.05"),
        (Money(0, "USD"), "$0.00"),
        (Money(1, "USD"), "$0.01"),
        (Money(1234, "KWD"), "1.234 KWD"),
        (Money(-70, "JPY"), "-70 JPY"),
        (Money(199, "CHF"), "1.99 CHF"),
        (Money(100, "GBP"), "£1.00"),
    ],
)
def test_str(money, text):
    assert str(money) == text


def test_scale():
    assert Money(1000).scale(19, 100) == Money(190)
    assert Money(25).scale(10, 100) == Money(2)
    assert Money(25).scale(10, 100, "half_up") == Money(3)
    assert Money(25, "USD").scale(1, 1) == Money(25, "USD")


def test_allocate_gives_the_rest_to_the_largest_remainders():
    assert [m.amount for m in Money(100).allocate([1, 1, 1])] == [34, 33, 33]
    assert [m.amount for m in Money(101).allocate([1, 1, 1])] == [34, 34, 33]
    assert [m.amount for m in Money(10).allocate([1, 5, 1])] == [2, 7, 1]
    assert [m.amount for m in Money(5).allocate([0, 3, 7])] == [0, 2, 3]


def test_allocate_keeps_sum_sign_and_currency():
    shares = Money(-100, "USD").allocate([2, 1])
    assert sum(m.amount for m in shares) == -100
    assert [m.amount for m in shares] == [-67, -33]
    assert {m.currency for m in shares} == {"USD"}


@pytest.mark.parametrize("weights", [[], [0, 0], [1, -1]])
def test_allocate_needs_weight(weights):
    with pytest.raises(InvalidValue, match="^weights must have a positive sum"):
        Money(1).allocate(weights)


def test_allocate_with_the_smallest_weight():
    assert Money(7).allocate([1]) == [Money(7)]


def test_total():
    assert total([Money(1), Money(2), Money(4)]) == Money(7)
    assert total([Money(3, "USD")]) == Money(3, "USD")
    assert total([], "GBP") == Money(0, "GBP")
    assert total([]) == Money(0)


def test_as_money():
    money = Money(3, "USD")
    assert as_money(money) is money
    assert as_money(250) == Money(250)
    assert as_money("2.5", "USD") == Money(250, "USD")
    assert as_money(3, "JPY") == Money(3, "JPY")


def test_tables():
    assert EXPONENTS == {"EUR": 2, "USD": 2, "GBP": 2, "CHF": 2, "JPY": 0, "KWD": 3}
    assert SYMBOLS == {"EUR": "€", "USD": "$", "GBP": "£"}
