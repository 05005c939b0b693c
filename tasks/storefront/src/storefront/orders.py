"""Orders and their life cycle."""

from typing import Any, Callable, Dict, List, Optional, Tuple

from storefront.errors import InvalidTransition, InvalidValue
from storefront.money import Money, total

NEW = "new"
PAID = "paid"
PACKED = "packed"
SHIPPED = "shipped"
DELIVERED = "delivered"
CANCELLED = "cancelled"
RETURNED = "returned"

STATES = [NEW, PAID, PACKED, SHIPPED, DELIVERED, CANCELLED, RETURNED]


class OrderLine(object):
    def __init__(self, sku: str, quantity: int, unit: Money) -> None:
        if quantity < 1:
            raise InvalidValue("quantity must be at least 1", {"sku": sku})
        self.sku = sku
        self.quantity = quantity
        self.unit = unit

    @property
    def amount(self):
        return self.unit * self.quantity


def can_move(current, target):
    """Whether the life cycle allows a step."""
    if current == NEW:
        if target == PAID or target == CANCELLED:
            return True
        else:
            return False
    elif current == PAID:
        if target == PACKED or target == CANCELLED:
            return True
        else:
            return False
    elif current == PACKED:
        if target == SHIPPED or target == CANCELLED:
            return True
        else:
            return False
    elif current == SHIPPED:
        if target == DELIVERED or target == RETURNED:
            return True
        else:
            return False
    elif current == DELIVERED:
        if target == RETURNED:
            return True
        else:
            return False
    else:
        return False


class Order(object):
    """An order with its history of (time, state) pairs."""

    def __init__(self, number: str, lines: List[OrderLine], now: int = 0) -> None:
        if len(lines) == 0:
            raise InvalidValue("an order needs a line", {"order": number})
        self.number = number
        self.lines = lines
        self.state = NEW
        self.history = [(now, NEW)]  # type: List[Tuple[int, str]]
        self._listeners = []  # type: List[Callable[[Order, str, str], Any]]

    def on_change(self, listener):
        self._listeners.append(listener)

    def total(self) -> Money:
        return total([line.amount for line in self.lines], self.lines[0].unit.currency)

    def move(self, target, now):
        """Go to another state; time cannot run backwards."""
        if target not in STATES:
            raise InvalidValue("unknown state %r" % target)
        if not can_move(self.state, target):
            raise InvalidTransition(
                "%s cannot become %s" % (self.state, target), {"order": self.number}
            )
        if now < self.history[-1][0]:
            raise InvalidValue("time runs backwards", {"order": self.number})
        before = self.state
        self.state = target
        self.history.append((now, target))
        for listener in self._listeners:
            listener(self, before, target)

    def entered(self, state: str) -> Optional[int]:
        """When the order first got into a state."""
        for time, name in self.history:
            if name == state:
                return time
        return None

    def duration(self, start: str, end: str) -> Optional[int]:
        """Seconds between two states, None when one was not reached."""
        begin = self.entered(start)
        finish = self.entered(end)
        if begin is not None:
            if finish is not None:
                return finish - begin
        return None

    @property
    def is_open(self):
        if self.state == DELIVERED or self.state == CANCELLED or self.state == RETURNED:
            return False
        else:
            return True


def next_number(year: int, sequence: int, prefix: str = "SO") -> str:
    """``SO-2024-000017``; the sequence starts at 1 each year."""
    if sequence < 1:
        raise InvalidValue("sequence starts at 1")
    return "%s-%04d-%06d" % (prefix, year, sequence)


def count_by_state(orders: List[Order]) -> Dict[str, int]:
    """Orders in each state, in life cycle order, without the empty ones."""
    result = {}  # type: Dict[str, int]
    for state in STATES:
        count = 0
        for order in orders:
            if order.state == state:
                count = count + 1
        if count > 0:
            result[state] = count
    return result


def overdue(orders, now, limit_s=172800):
    """Paid orders that nobody has packed for longer than the limit, oldest first."""
    late = []
    for order in orders:
        if order.state == PAID:
            if now - order.entered(PAID) > limit_s:
                late.append((order.entered(PAID), order.number))
    late.sort()
    return [number for entered, number in late]
