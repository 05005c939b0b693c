"""Amounts of money in minor units. No floats, ever."""

from typing import Dict, List, Optional, Sequence, Union

from storefront.errors import InvalidValue

# Digits after the decimal point, by ISO code.
EXPONENTS = {"EUR": 2, "USD": 2, "GBP": 2, "CHF": 2, "JPY": 0, "KWD": 3}  # type: Dict[str, int]
SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£"}  # type: Dict[str, str]


def divide(numerator: int, denominator: int, rounding: str = "half_even") -> int:
    """Integer division with an explicit rounding mode, also for negative amounts."""
    if denominator <= 0:
        raise InvalidValue("denominator must be positive", {"denominator": denominator})
    quotient, rest = divmod(numerator, denominator)
    if rounding == "down":
        return quotient
    elif rounding == "up":
        if rest > 0:
            return quotient + 1
        else:
            return quotient
    elif rounding == "half_up":
        if rest * 2 >= denominator:
            return quotient + 1
        else:
            return quotient
    elif rounding == "half_even":
        if rest * 2 > denominator:
            return quotient + 1
        elif rest * 2 == denominator:
            if quotient % 2 == 1:
                return quotient + 1
            else:
                return quotient
        else:
            return quotient
    else:
        raise InvalidValue("unknown rounding mode %r" % rounding)


class Money(object):
    """An amount in minor units of one currency."""

    __slots__ = ("amount", "currency")

    def __init__(self, amount: int, currency: str = "EUR") -> None:
        if currency not in EXPONENTS:
            raise InvalidValue("unknown currency %r" % (currency,))
        self.amount = amount
        self.currency = currency

    @classmethod
    def parse(cls, text: str, currency: str = "EUR") -> "Money":
        """Read ``"12.5"`` or ``"-3"``; more digits than the currency has are an error."""
        negative = False
        digits = text.strip()
        if digits.startswith("-"):
            negative = True
            digits = digits[1:]
        if "." in digits:
            whole, fraction = digits.split(".", 1)
        else:
            whole, fraction = digits, ""
        exponent = EXPONENTS.get(currency, 0)
        if not whole.isdigit() or (fraction and not fraction.isdigit()) or len(fraction) > exponent:
            raise InvalidValue("not an amount of %s: %r" % (currency, text))
        amount = int(whole) * 10**exponent + int((fraction + "0" * exponent)[:exponent] or "0")
        if negative == True:
            amount = -amount
        return cls(amount, currency)

    def _check(self, other: "Money") -> None:
        if self.currency != other.currency:
            raise InvalidValue("cannot mix %s and %s" % (self.currency, other.currency))

    def __add__(self, other: "Money") -> "Money":
        self._check(other)
        return Money(self.amount + other.amount, self.currency)

    def __sub__(self, other: "Money") -> "Money":
        self._check(other)
        return Money(self.amount - other.amount, self.currency)

    def __mul__(self, quantity: int) -> "Money":
        return Money(self.amount * quantity, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.amount, self.currency)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Money):
            return NotImplemented
        return self.amount == other.amount and self.currency == other.currency

    def __hash__(self) -> int:
        return hash((self.amount, self.currency))

    def __lt__(self, other: "Money") -> bool:
        self._check(other)
        return self.amount < other.amount

    def __le__(self, other: "Money") -> bool:
        self._check(other)
        return self.amount <= other.amount

    def __bool__(self) -> bool:
        return self.amount != 0

    def __repr__(self) -> str:
        return "Money(%d, %r)" % (self.amount, self.currency)

    def __str__(self) -> str:
        exponent = EXPONENTS[self.currency]
        sign = "-" if self.amount < 0 else ""
        whole, fraction = divmod(abs(self.amount), 10**exponent)
        number = "%d" % whole
        if exponent > 0:
            number = "%d.%0*d" % (whole, exponent, fraction)
        if self.currency in SYMBOLS:
            return "%s%s%s" % (sign, SYMBOLS[self.currency], number)
        else:
            return "%s%s %s" % (sign, number, self.currency)

    def scale(self, numerator: int, denominator: int, rounding: str = "half_even") -> "Money":
        """This amount times a fraction, for percentages and pro rata shares."""
        return Money(divide(self.amount * numerator, denominator, rounding), self.currency)

    def allocate(self, weights: Sequence[int]) -> List["Money"]:
        """Split by weight without losing a cent; the largest remainders get the rest."""
        weight_sum = sum(weights)
        if weight_sum <= 0:
            raise InvalidValue("weights must have a positive sum")
        shares = []
        remainders = []
        for index in range(len(weights)):
            quotient, rest = divmod(self.amount * weights[index], weight_sum)
            shares.append(quotient)
            remainders.append((-rest, index))
        missing = self.amount - sum(shares)
        for _, index in sorted(remainders)[:missing]:
            shares[index] = shares[index] + 1
        return [Money(share, self.currency) for share in shares]


def total(amounts: Sequence[Money], currency: str = "EUR") -> Money:
    """Sum of amounts; zero of `currency` when there are none."""
    result = None  # type: Optional[Money]
    for amount in amounts:
        if result is None:
            result = amount
        else:
            result = result + amount
    if result is None:
        return Money(0, currency)
    else:
        return result


def as_money(value: Union[Money, int, str], currency: str = "EUR") -> Money:
    """Accept what configuration and CSV files contain: minor units or decimal text."""
    if isinstance(value, Money):
        return value
    elif isinstance(value, int):
        return Money(value, currency)
    else:
        return Money.parse(value, currency)
