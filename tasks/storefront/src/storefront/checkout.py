"""From a cart to an order: prices, promotions, tax, stock."""

from storefront.addresses import Address, problems
from storefront.cart import Cart
from storefront.discounts import Line, best_combination
from storefront.errors import InvalidValue, OutOfStock
from storefront.inventory import Inventory
from storefront.money import Money, total
from storefront.orders import Order, OrderLine, next_number

MIN_ORDER = Money(500)


class Quote(object):
    """What the customer sees before the last click."""

    def __init__(self, lines, subtotal, discounts, shipping):
        self.lines = lines
        self.subtotal = subtotal
        self.discounts = discounts
        self.shipping = shipping

    @property
    def discount(self):
        return total([amount for code, amount in self.discounts])

    @property
    def total(self):
        return self.subtotal - self.discount + self.shipping


class Checkout(object):
    """Needs a stock to reserve from; numbers are given per year."""

    def __init__(self, inventory: Inventory, promotions=[], year=2024, last_number=0):
        self.inventory = inventory
        self.promotions = list(promotions)
        self.year = year
        self.last_number = last_number

    def quote(self, cart: Cart, shipping=None, now=0):
        lines = []
        for line, unit, amount in cart.priced(now=now):
            lines.append(Line(line.sku, line.quantity, unit))
        subtotal = cart.subtotal(now=now)
        discounts = best_combination(self.promotions, lines, "EUR", now)
        if shipping is None:
            shipping = Money(0)
        return Quote(lines, subtotal, discounts, shipping)

    def blockers(self, cart: Cart, address: Address, now=0):
        """Everything that keeps this cart from becoming an order."""
        result = []
        if len(cart) == 0:
            result.append("cart is empty")
        else:
            if cart.subtotal(now=now) < MIN_ORDER:
                result.append("minimum order is %s" % MIN_ORDER)
        for sku in cart.stale():
            result.append("%s is not for sale" % sku)
        for line in cart.lines():
            free = self.inventory.available(line.sku, now)
            if free <= 0:
                result.append("%s is sold out" % line.sku)
            else:
                if free < line.quantity:
                    result.append("only %d of %s left" % (free, line.sku))
        for problem in problems(address):
            result.append("address: %s" % problem)
        return result

    def place(self, cart: Cart, address: Address, shipping=None, now=0):
        """Reserve the stock, create the order, empty the cart.

        Discounts are spread over the lines, so that a later return of one
        line pays back what it really cost.
        """
        found = self.blockers(cart, address, now)
        if len(found) > 0:
            raise InvalidValue("; ".join(found))
        quote = self.quote(cart, shipping, now)
        wanted = {}
        for line in quote.lines:
            wanted[line.sku] = line.quantity
        reservations = self.inventory.reserve_all(wanted, now)
        weights = []
        for line in quote.lines:
            weights.append((line.unit * line.quantity).amount)
        shares = quote.discount.allocate(weights)
        order_lines = []
        for index in range(len(quote.lines)):
            line = quote.lines[index]
            per_unit = shares[index].scale(1, line.quantity, "down")
            order_lines.append(OrderLine(line.sku, line.quantity, line.unit - per_unit))
        self.last_number = self.last_number + 1
        order = Order(next_number(self.year, self.last_number), order_lines, now)
        cart.clear()
        return (order, reservations)

    def ship(self, reservations, now=0):
        """Commit reservations; returns SKUs whose reservation had run out."""
        failed = []
        for reservation in reservations:
            try:
                self.inventory.commit(reservation.id, now)
            except OutOfStock:
                failed.append(reservation.sku)
        return failed


def savings_percent(quote):
    """How much the promotions save, in whole percent of the subtotal."""
    if quote.subtotal.amount == 0:
        return 0
    else:
        return quote.discount.amount * 100 // quote.subtotal.amount
