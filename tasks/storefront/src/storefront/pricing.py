"""Unit prices: quantity breaks, customer groups and price lists."""

from typing import Dict, List, Optional, Tuple

from storefront.catalog import Product
from storefront.errors import InvalidValue
from storefront.money import Money

GROUP_PERCENT = {"retail": 100, "trade": 90, "staff": 70}  # type: Dict[str, int]


class PriceList(object):
    """Prices that replace the catalog's during a period, end excluded."""

    def __init__(
        self, name: str, prices: Dict[str, Money], starts: int = 0, ends: Optional[int] = None
    ) -> None:
        if ends is not None and ends <= starts:
            raise InvalidValue("price list %r ends before it starts" % name)
        self.name = name
        self.prices = prices
        self.starts = starts
        self.ends = ends

    def price_of(self, sku: str, now: int = 0) -> Optional[Money]:
        if now >= self.starts:
            if self.ends is None or now < self.ends:
                if sku in self.prices:
                    return self.prices[sku]
                else:
                    return None
            else:
                return None
        else:
            return None


def parse_breaks(text: str) -> List[Tuple[int, int]]:
    """Read ``"10:5, 50:12"``: from 10 units 5 percent off, from 50 units 12."""
    result = []  # type: List[Tuple[int, int]]
    for part in text.split(","):
        part = part.strip()
        if part == "":
            continue
        if ":" not in part:
            raise InvalidValue("bad quantity break %r" % part)
        quantity, percent = part.split(":", 1)
        try:
            pair = (int(quantity), int(percent))
        except ValueError:
            raise InvalidValue("bad quantity break %r" % part)
        if pair[0] < 2 or pair[1] < 1 or pair[1] > 90:
            raise InvalidValue("quantity break out of range %r" % part)
        result.append(pair)
    result.sort()
    for index in range(1, len(result)):
        if result[index][0] == result[index - 1][0]:
            raise InvalidValue("quantity %d appears twice" % result[index][0])
    return result


def break_percent(breaks: List[Tuple[int, int]], quantity: int) -> int:
    """The discount of the highest break that the quantity reaches."""
    percent = 0
    best = 0
    for start, off in breaks:
        if quantity >= start:
            if start > best:
                best = start
                percent = off
    return percent


def unit_price(
    product: Product,
    quantity: int = 1,
    group: str = "retail",
    breaks: List[Tuple[int, int]] = [],
    lists: List[PriceList] = [],
    now: int = 0,
) -> Money:
    """What one unit costs this customer: the lowest list, then breaks, then the group.

    Quantity breaks and group percentages do not add up: the better one wins.
    """
    if quantity < 1:
        raise InvalidValue("quantity must be at least 1")
    if group not in GROUP_PERCENT:
        raise InvalidValue("unknown customer group %r" % group)
    base = product.price
    for price_list in lists:
        listed = price_list.price_of(product.sku, now)
        if listed is not None:
            if listed < base:
                base = listed
    percent = 100
    if break_percent(breaks, quantity) > 0:
        percent = 100 - break_percent(breaks, quantity)
    if GROUP_PERCENT[group] < percent:
        percent = GROUP_PERCENT[group]
    if percent == 100:
        return base
    else:
        return base.scale(percent, 100, "half_up")


def margin_percent(price: Money, cost: Money) -> Optional[int]:
    """Gross margin in whole percent of the price, None for a free product."""
    if price.amount == 0:
        return None
    else:
        return (price - cost).amount * 100 // price.amount


def line_price(product, quantity, **options):
    """Price of a whole line; rounding happens per unit, as on the invoice."""
    return unit_price(product, quantity, **options) * quantity
