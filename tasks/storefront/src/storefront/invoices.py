"""Invoices: numbers, totals and a plain text rendering."""

from storefront.errors import InvalidValue
from storefront.money import Money, total
from storefront.tax import TaxLine, format_rate, summarize, total_tax

WIDTH = 60


class InvoiceLine(object):
    def __init__(self, text, quantity, unit, tax_class="standard"):
        if quantity == 0:
            raise InvalidValue("quantity cannot be zero", {"text": text})
        self.text = text
        self.quantity = quantity
        self.unit = unit
        self.tax_class = tax_class

    def amount(self):
        return self.unit * self.quantity


class Invoice(object):
    """An invoice; a negative one is a credit note. Days count from an epoch."""

    def __init__(self, number, country, lines, issued=0, terms_days=14, business=False, paid=[]):
        if len(lines) == 0:
            raise InvalidValue("an invoice needs a line", {"invoice": number})
        self.number = number
        self.country = country
        self.lines = lines
        self.issued = issued
        self.terms_days = terms_days
        self.business = business
        self.paid = list(paid)

    def net(self):
        return total([line.amount() for line in self.lines])

    def tax_lines(self):
        items = []
        for line in self.lines:
            items.append((line.amount(), line.tax_class))
        return summarize(items, self.country, business=self.business)

    def gross(self):
        return self.net() + total_tax(self.tax_lines())

    def due_day(self):
        return self.issued + self.terms_days

    def is_credit(self):
        if self.gross().amount < 0:
            return True
        else:
            return False

    def pay(self, amount):
        """Record a payment; returns what is still open."""
        if amount.amount <= 0:
            raise InvalidValue("amount must be positive", {"invoice": self.number})
        self.paid.append(amount)
        return self.open_amount()

    def open_amount(self):
        rest = self.gross() - total(self.paid)
        if rest.amount < 0:
            return Money(0)
        else:
            return rest

    def reminder_level(self, today):
        """0 not due, 1 friendly, 2 from two weeks late, 3 from four weeks late."""
        if self.open_amount().amount == 0:
            return 0
        else:
            late = today - self.due_day()
            if late <= 0:
                return 0
            elif late < 14:
                return 1
            elif late < 28:
                return 2
            else:
                return 3


def credit_note(invoice, number, issued=0):
    """The same lines with negative quantities."""
    lines = []
    for line in invoice.lines:
        lines.append(InvoiceLine(line.text, -line.quantity, line.unit, line.tax_class))
    return Invoice(number, invoice.country, lines, issued, 0, invoice.business)


def _row(left, right):
    room = WIDTH - len(right) - 1
    if len(left) > room:
        left = left[: room - 1] + "~"
    return left + " " * (WIDTH - len(left) - len(right)) + right


def render(invoice):
    """Text for the mail: a heading, the lines, tax by rate and the total."""
    out = []
    if invoice.is_credit() == True:
        out.append("Credit note %s" % invoice.number)
    else:
        out.append("Invoice %s" % invoice.number)
    out.append("-" * WIDTH)
    for line in invoice.lines:
        out.append(_row("%d x %s" % (line.quantity, line.text), "%s" % line.amount()))
    out.append("-" * WIDTH)
    out.append(_row("Net", "%s" % invoice.net()))
    for tax_line in invoice.tax_lines():
        if tax_line.tax.amount != 0:
            out.append(_row("VAT %s" % format_rate(tax_line.rate), "%s" % tax_line.tax))
    out.append(_row("Total", "%s" % invoice.gross()))
    if invoice.is_credit() == False:
        if invoice.open_amount().amount > 0:
            out.append("Please pay within %d days." % invoice.terms_days)
        else:
            out.append("Paid, thank you.")
    return "\n".join(out)


def aging(invoices, today):
    """Open amounts by how late they are: current, 30, 60 and older."""
    buckets = {"current": Money(0), "30": Money(0), "60": Money(0), "older": Money(0)}
    for invoice in invoices:
        late = today - invoice.due_day()
        rest = invoice.open_amount()
        if late <= 0:
            buckets["current"] = buckets["current"] + rest
        elif late <= 30:
            buckets["30"] = buckets["30"] + rest
        elif late <= 60:
            buckets["60"] = buckets["60"] + rest
        else:
            buckets["older"] = buckets["older"] + rest
    return buckets
