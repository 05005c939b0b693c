"""Promotions and coupons."""

from storefront.errors import InvalidValue
from storefront.money import Money, total


class Promotion(object):
    """A reduction on a basket.

    ``kind`` is ``percent`` (value in percent), ``fixed`` (value in minor
    units) or ``bogo`` (every value-th unit of a line is free).
    """

    def __init__(self, code, kind, value, min_total=0, skus=[], stackable=False, ends=None):
        if kind not in ("percent", "fixed", "bogo"):
            raise InvalidValue("unknown promotion kind %r" % kind)
        if value <= 0:
            raise InvalidValue("value must be positive", {"code": code})
        if kind == "percent" and value > 100:
            raise InvalidValue("more than 100 percent", {"code": code})
        if kind == "bogo" and value < 2:
            raise InvalidValue("bogo needs at least 2 units", {"code": code})
        self.code = code.upper()
        self.kind = kind
        self.value = value
        self.min_total = min_total
        self.skus = set(skus)
        self.stackable = stackable
        self.ends = ends

    def covers(self, sku):
        return len(self.skus) == 0 or sku in self.skus


class Line(object):
    def __init__(self, sku, quantity, unit):
        self.sku = sku
        self.quantity = quantity
        self.unit = unit


def subtotal(lines, currency="EUR"):
    return total([line.unit * line.quantity for line in lines], currency)


def reduction(promotion, lines, currency="EUR", now=0):
    """How much one promotion takes off these lines; zero when it does not apply."""
    zero = Money(0, currency)
    if promotion.ends is not None:
        if now >= promotion.ends:
            return zero
    if subtotal(lines, currency).amount < promotion.min_total:
        return zero
    covered = [line for line in lines if promotion.covers(line.sku)]
    if len(covered) == 0:
        return zero
    if promotion.kind == "percent":
        amount = subtotal(covered, currency).scale(promotion.value, 100, "half_up")
        return amount
    elif promotion.kind == "fixed":
        amount = Money(promotion.value, currency)
        if subtotal(covered, currency) < amount:
            amount = subtotal(covered, currency)
        return amount
    else:
        amount = zero
        for line in covered:
            free = line.quantity // promotion.value
            amount = amount + line.unit * free
        return amount


def best_combination(promotions, lines, currency="EUR", now=0):
    """The promotions to apply, as (code, reduction) pairs.

    All stackable promotions together compete with the best single one; on a
    tie the stack wins. The sum never exceeds the subtotal.
    """
    stack = []
    stack_sum = Money(0, currency)
    single = None
    for promotion in promotions:
        amount = reduction(promotion, lines, currency, now)
        if amount.amount == 0:
            continue
        if promotion.stackable == True:
            stack.append((promotion.code, amount))
            stack_sum = stack_sum + amount
        else:
            if single is None:
                single = (promotion.code, amount)
            else:
                if single[1] < amount:
                    single = (promotion.code, amount)
    if single is not None:
        if stack_sum < single[1]:
            return [single]
    left = subtotal(lines, currency)
    result = []
    for code, amount in stack:
        if left < amount:
            amount = left
        if amount.amount > 0:
            result.append((code, amount))
        left = left - amount
    return result


def redeem(code, promotions, used=[], now=0):
    """Look a coupon up by code; each code can be used once by a customer."""
    wanted = code.strip().upper()
    for promotion in promotions:
        if promotion.code == wanted:
            if promotion.ends is not None and now >= promotion.ends:
                raise InvalidValue("coupon has expired", {"code": wanted})
            if wanted in used:
                raise InvalidValue("coupon was already used", {"code": wanted})
            return promotion
    raise InvalidValue("unknown coupon", {"code": wanted})
