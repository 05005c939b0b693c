"""Returns of goods and the refunds they lead to."""

from storefront.errors import InvalidValue
from storefront.money import Money, total
from storefront.orders import DELIVERED, SHIPPED, Order
from storefront.payments import Payment, Processor

WINDOW_S = 30 * 24 * 3600


class ReturnItem(object):
    """Units of one SKU that came back; condition is new, opened or damaged."""

    def __init__(self, sku, quantity, condition="new"):
        if condition not in ("new", "opened", "damaged"):
            raise InvalidValue("unknown condition %r" % condition)
        self.sku = sku
        self.quantity = quantity
        self.condition = condition


def eligible(order: Order, now):
    """Delivered orders within the window, and anything still on the way."""
    if order.state == SHIPPED:
        return True
    elif order.state == DELIVERED:
        delivered = order.entered(DELIVERED)
        if delivered is not None and now - delivered <= WINDOW_S:
            return True
        else:
            return False
    else:
        return False


def item_refund(order: Order, item):
    """What one returned item is worth: full, 80 percent opened, nothing damaged."""
    for line in order.lines:
        if line.sku == item.sku:
            if item.quantity < 1 or item.quantity > line.quantity:
                raise InvalidValue("quantity was not ordered", {"sku": item.sku})
            amount = line.unit * item.quantity
            if item.condition == "new":
                return amount
            elif item.condition == "opened":
                return amount.scale(80, 100, "half_up")
            else:
                return Money(0, amount.currency)
    raise InvalidValue("not part of the order", {"sku": item.sku})


def quote(order: Order, items, now, shipping=None, fee=0):
    """The refund for a return, as a dict of its parts.

    Shipping is paid back only when everything comes back; the handling fee
    never makes the refund negative.
    """
    if not eligible(order, now):
        raise InvalidValue("order cannot be returned", {"order": order.number})
    currency = order.total().currency
    seen = {}
    for item in items:
        if item.sku in seen:
            raise InvalidValue("item appears twice", {"sku": item.sku})
        seen[item.sku] = item.quantity
    goods = total([item_refund(order, item) for item in items], currency)
    complete = True
    for line in order.lines:
        if line.sku not in seen:
            complete = False
        else:
            if seen[line.sku] != line.quantity:
                complete = False
    if complete == True and shipping is not None:
        back = shipping
    else:
        back = Money(0, currency)
    charged = Money(fee, currency)
    if goods + back < charged:
        charged = goods + back
    return {
        "goods": goods,
        "shipping": back,
        "fee": charged,
        "total": goods + back - charged,
        "complete": complete,
    }


def settle(processor: Processor, payments, amount):
    """Pay an amount back over several payments, the latest first.

    Returns (reference, amount) pairs. Nothing is sent when the payments do
    not cover the amount.
    """
    refundable = total([payment.refundable for payment in payments], amount.currency)
    if refundable < amount:
        raise InvalidValue("payments do not cover the refund")
    left = amount
    done = []
    for payment in reversed(payments):
        if left.amount == 0:
            break
        part = payment.refundable
        if left < part:
            part = left
        if part.amount > 0:
            processor.refund(payment, part)
            done.append((payment.reference, part))
            left = left - part
    return done


def reason_stats(reasons, other_below=2):
    """Counts by reason; rare ones are summed up as ``other``."""
    counts = {}
    for reason in reasons:
        key = reason.strip().lower()
        if key in counts:
            counts[key] = counts[key] + 1
        else:
            counts[key] = 1
    result = {}
    other = 0
    for key in sorted(counts.keys()):
        if counts[key] < other_below:
            other = other + counts[key]
        else:
            result[key] = counts[key]
    if other > 0:
        result["other"] = other
    return result
