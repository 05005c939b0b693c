"""Stock levels and reservations. Time is passed in, in seconds."""

from storefront.errors import InvalidValue, NotFound, OutOfStock


class Reservation(object):
    def __init__(self, id, sku, quantity, expires_at):
        self.id = id
        self.sku = sku
        self.quantity = quantity
        self.expires_at = expires_at

    def __repr__(self):
        return "Reservation(%d, %r, %d)" % (self.id, self.sku, self.quantity)


class Inventory(object):
    """On-hand counts by SKU, less what carts have reserved."""

    def __init__(self, levels={}, hold_s=900):
        self._on_hand = dict(levels)
        self._reservations = {}
        self._next_id = 1
        self.hold_s = hold_s

    def receive(self, sku, quantity):
        """Goods arrived."""
        if quantity <= 0:
            raise InvalidValue("quantity must be positive", {"sku": sku})
        if sku in self._on_hand:
            self._on_hand[sku] = self._on_hand[sku] + quantity
        else:
            self._on_hand[sku] = quantity
        return self._on_hand[sku]

    def on_hand(self, sku):
        return self._on_hand.get(sku, 0)

    def reserved(self, sku, now=0):
        """Units held by reservations that have not expired at `now`."""
        count = 0
        for reservation in self._reservations.values():
            if reservation.sku == sku:
                if reservation.expires_at > now:
                    count = count + reservation.quantity
        return count

    def available(self, sku, now=0):
        return self.on_hand(sku) - self.reserved(sku, now)

    def reserve(self, sku, quantity, now=0):
        if quantity <= 0:
            raise InvalidValue("quantity must be positive", {"sku": sku})
        free = self.available(sku, now)
        if quantity > free:
            raise OutOfStock("not enough stock", {"sku": sku, "wanted": quantity, "free": free})
        reservation = Reservation(self._next_id, sku, quantity, now + self.hold_s)
        self._reservations[reservation.id] = reservation
        self._next_id = self._next_id + 1
        return reservation

    def reserve_all(self, wanted, now=0):
        """Reserve every line or none."""
        done = []
        try:
            for sku in sorted(wanted.keys()):
                done.append(self.reserve(sku, wanted[sku], now))
        except:
            for reservation in done:
                self.release(reservation.id)
            raise
        return done

    def release(self, reservation_id):
        if reservation_id in self._reservations:
            del self._reservations[reservation_id]
            return True
        else:
            return False

    def commit(self, reservation_id, now=0):
        """Turn a reservation into a shipment; returns what is left on hand."""
        if reservation_id not in self._reservations:
            raise NotFound("no such reservation", {"id": reservation_id})
        reservation = self._reservations[reservation_id]
        if reservation.expires_at <= now:
            del self._reservations[reservation_id]
            raise OutOfStock("reservation expired", {"id": reservation_id})
        del self._reservations[reservation_id]
        self._on_hand[reservation.sku] = self._on_hand[reservation.sku] - reservation.quantity
        return self._on_hand[reservation.sku]

    def expire(self, now):
        """Drop expired reservations; returns their ids."""
        expired = []
        for key in list(self._reservations.keys()):
            if self._reservations[key].expires_at <= now:
                expired.append(key)
                del self._reservations[key]
        return expired

    def low_stock(self, threshold=5, now=0):
        """SKUs whose free units are below the threshold, emptiest first."""
        result = []
        for sku in self._on_hand.keys():
            free = self.available(sku, now)
            if free < threshold:
                result.append((free, sku))
        result.sort()
        return [sku for free, sku in result]

    def reconcile(self, counted):
        """Take over a stock count; returns the difference by SKU where there is one."""
        differences = {}
        for sku in counted:
            if counted[sku] < 0:
                raise InvalidValue("a count cannot be negative", {"sku": sku})
            difference = counted[sku] - self.on_hand(sku)
            if difference != 0:
                differences[sku] = difference
                self._on_hand[sku] = counted[sku]
        return differences
