"""Authorisation and capture of payments through a gateway."""

from storefront.errors import GatewayTimeout, InvalidValue, PaymentDeclined
from storefront.money import Money


class Payment(object):
    """What was authorised, captured and refunded for one order."""

    def __init__(self, reference, authorised):
        self.reference = reference
        self.authorised = authorised
        self.captured = Money(0, authorised.currency)
        self.refunded = Money(0, authorised.currency)
        self.voided = False

    @property
    def capturable(self):
        if self.voided:
            return Money(0, self.authorised.currency)
        else:
            return self.authorised - self.captured

    @property
    def refundable(self):
        return self.captured - self.refunded

    def status(self):
        if self.voided:
            return "voided"
        elif self.captured.amount == 0:
            return "authorised"
        elif self.refunded == self.captured:
            return "refunded"
        elif self.refunded.amount > 0:
            return "partly refunded"
        elif self.captured == self.authorised:
            return "captured"
        else:
            return "partly captured"


def luhn_valid(number):
    """The checksum of card numbers; blanks are ignored."""
    digits = number.replace(" ", "")
    if not digits.isdigit() or len(digits) < 12:
        return False
    acc = 0
    double = False
    for char in reversed(digits):
        value = int(char)
        if double == True:
            value = value * 2
            if value > 9:
                value = value - 9
            double = False
        else:
            double = True
        acc = acc + value
    if acc % 10 == 0:
        return True
    else:
        return False


def mask(number):
    """All but the last four digits hidden, for receipts."""
    digits = number.replace(" ", "")
    return "*" * (len(digits) - 4) + digits[-4:]


class Processor(object):
    """Talks to a gateway: a callable of (action, reference, amount)."""

    def __init__(self, gateway, retries=2, log=[]):
        self.gateway = gateway
        self.retries = retries
        self.log = list(log)

    def _call(self, action, reference, amount):
        attempt = 0
        while True:
            try:
                answer = self.gateway(action, reference, amount)
                break
            except GatewayTimeout:
                attempt = attempt + 1
                self.log.append("%s %s: timeout %d" % (action, reference, attempt))
                if attempt > self.retries:
                    raise
        self.log.append("%s %s: %s" % (action, reference, answer))
        if answer != "ok":
            raise PaymentDeclined("%s was declined" % action, {"reason": answer})

    def authorise(self, reference, amount, card):
        if not luhn_valid(card):
            raise InvalidValue("card number is not valid", {"card": mask(card)})
        if amount.amount <= 0:
            raise InvalidValue("amount must be positive")
        self._call("authorise", reference, amount)
        return Payment(reference, amount)

    def capture(self, payment, amount=None):
        """Take the money, all of it unless an amount is given."""
        if amount is None:
            amount = payment.capturable
        if amount.amount <= 0:
            raise InvalidValue("nothing to capture", {"payment": payment.reference})
        if payment.capturable < amount:
            raise InvalidValue("more than was authorised", {"payment": payment.reference})
        self._call("capture", payment.reference, amount)
        payment.captured = payment.captured + amount
        return payment.captured

    def refund(self, payment, amount):
        if amount.amount <= 0:
            raise InvalidValue("nothing to refund", {"payment": payment.reference})
        if payment.refundable < amount:
            raise InvalidValue("more than was captured", {"payment": payment.reference})
        self._call("refund", payment.reference, amount)
        payment.refunded = payment.refunded + amount
        return payment.refunded

    def void(self, payment):
        """Give up an authorisation that nothing was captured from."""
        if payment.captured.amount != 0:
            raise InvalidValue("payment was captured", {"payment": payment.reference})
        if not payment.voided:
            self._call("void", payment.reference, payment.authorised)
            payment.voided = True
