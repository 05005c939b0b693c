"""The shopping cart."""

from typing import Dict

from storefront.catalog import Catalog
from storefront.errors import InvalidValue, NotFound
from storefront.money import Money, total
from storefront.pricing import unit_price

MAX_LINES = 50
MAX_QUANTITY = 99


class CartLine(object):
    def __init__(self, sku, quantity, note=""):
        self.sku = sku
        self.quantity = quantity
        self.note = note


class Cart(object):
    """Lines by SKU in the order in which they were added."""

    def __init__(self, catalog: Catalog, group="retail", lines=[]):
        self.catalog = catalog
        self.group = group
        self._lines = {}  # type: Dict[str, CartLine]
        for line in lines:
            self.add(line.sku, line.quantity, line.note)

    def __len__(self):
        return len(self._lines)

    def lines(self):
        return list(self._lines.values())

    def add(self, sku, quantity=1, note=""):
        """Add units of a product, on top of what is there already."""
        product = self.catalog.get(sku)
        if not product.active:
            raise InvalidValue("product is not for sale", {"sku": product.sku})
        if quantity <= 0:
            raise InvalidValue("quantity must be positive", {"sku": product.sku})
        if product.sku in self._lines:
            line = self._lines[product.sku]
            if line.quantity + quantity > MAX_QUANTITY:
                raise InvalidValue("at most %d units a line" % MAX_QUANTITY, {"sku": product.sku})
            line.quantity = line.quantity + quantity
            if note:
                line.note = note
            return line
        else:
            if len(self._lines) >= MAX_LINES:
                raise InvalidValue("at most %d lines" % MAX_LINES)
            if quantity > MAX_QUANTITY:
                raise InvalidValue("at most %d units a line" % MAX_QUANTITY, {"sku": product.sku})
            line = CartLine(product.sku, quantity, note)
            self._lines[product.sku] = line
            return line

    def update(self, sku, quantity):
        """Set the quantity of a line; zero removes it."""
        key = self.catalog.get(sku).sku
        if key not in self._lines:
            raise NotFound("not in the cart", {"sku": key})
        if quantity < 0 or quantity > MAX_QUANTITY:
            raise InvalidValue("quantity out of range", {"sku": key})
        if quantity == 0:
            del self._lines[key]
        else:
            self._lines[key].quantity = quantity

    def clear(self):
        count = len(self._lines)
        self._lines = {}
        return count

    def quantity(self):
        count = 0
        for line in self._lines.values():
            count = count + line.quantity
        return count

    def weight_g(self):
        weight = 0
        for line in self._lines.values():
            product = self.catalog.get(line.sku)
            weight = weight + product.weight_g * line.quantity
        return weight

    def priced(self, breaks=[], lists=[], now=0):
        """(line, unit price, line total) for every line."""
        result = []
        for line in self._lines.values():
            product = self.catalog.get(line.sku)
            unit = unit_price(product, line.quantity, self.group, breaks, lists, now)
            result.append((line, unit, unit * line.quantity))
        return result

    def subtotal(self, breaks=[], lists=[], now=0) -> Money:
        amounts = []
        for line, unit, amount in self.priced(breaks, lists, now):
            amounts.append(amount)
        return total(amounts)

    def merge(self, other):
        """Take over a guest's cart after login; returns SKUs that did not fit."""
        skipped = []
        for line in other.lines():
            try:
                self.add(line.sku, line.quantity, line.note)
            except (InvalidValue, NotFound):
                skipped.append(line.sku)
        return skipped

    def stale(self):
        """SKUs in the cart that can no longer be bought."""
        result = []
        for line in self._lines.values():
            try:
                if not self.catalog.get(line.sku).active:
                    result.append(line.sku)
            except:
                result.append(line.sku)
        return result
