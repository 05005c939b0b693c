"""Value added tax by country and product class."""

from storefront.errors import InvalidValue
from storefront.money import Money, total

# Basis points, so that 5.5 % is an integer.
RATES = {
    "DE": {"standard": 1900, "reduced": 700, "zero": 0},
    "FR": {"standard": 2000, "reduced": 550, "zero": 0},
    "NL": {"standard": 2100, "reduced": 900, "zero": 0},
    "GB": {"standard": 2000, "reduced": 500, "zero": 0},
}


class TaxLine(object):
    """Net, tax and gross of everything that has the same rate."""

    def __init__(self, rate, net, tax):
        self.rate = rate
        self.net = net
        self.tax = tax

    @property
    def gross(self):
        return self.net + self.tax

    def __eq__(self, other):
        if not isinstance(other, TaxLine):
            return NotImplemented
        return (self.rate, self.net, self.tax) == (other.rate, other.net, other.tax)

    def __repr__(self):
        return "TaxLine(%d, %s, %s)" % (self.rate, self.net, self.tax)


def rate_for(country, tax_class="standard", business=False, seller="DE"):
    """Rate in basis points.

    Businesses in another country pay no tax here (reverse charge), and
    exports to countries without rates are free of it too.
    """
    if country in RATES:
        if business == True:
            if country != seller:
                return 0
            else:
                if tax_class in RATES[country]:
                    return RATES[country][tax_class]
                else:
                    raise InvalidValue("unknown tax class %r" % tax_class)
        else:
            if tax_class in RATES[country]:
                return RATES[country][tax_class]
            else:
                raise InvalidValue("unknown tax class %r" % tax_class)
    else:
        return 0


def tax_on_net(net, rate):
    return net.scale(rate, 10000, "half_up")


def split_gross(gross, rate):
    """Net and tax of a price that includes tax; the two always add up."""
    tax = gross.scale(rate, 10000 + rate, "half_up")
    return (gross - tax, tax)


def summarize(items, country, business=False, seller="DE", inclusive=False, currency="EUR"):
    """Tax lines of (amount, tax class) pairs, highest rate first.

    Tax is computed once per rate on the sum, not per item.
    """
    sums = {}
    for amount, tax_class in items:
        rate = rate_for(country, tax_class, business, seller)
        if rate in sums:
            sums[rate] = sums[rate] + amount
        else:
            sums[rate] = Money(0, currency) + amount
    result = []
    for rate in sorted(sums.keys(), reverse=True):
        if inclusive == True:
            net, tax = split_gross(sums[rate], rate)
            result.append(TaxLine(rate, net, tax))
        else:
            tax = tax_on_net(sums[rate], rate)
            result.append(TaxLine(rate, sums[rate], tax))
    return result


def total_tax(lines, currency="EUR"):
    return total([line.tax for line in lines], currency)


def format_rate(rate):
    """``19 %`` or ``5.5 %``: no digits that say nothing."""
    whole = rate // 100
    fraction = rate % 100
    if fraction == 0:
        return "%d %%" % whole
    else:
        if fraction % 10 == 0:
            return "%d.%d %%" % (whole, fraction // 10)
        else:
            return "%d.%02d %%" % (whole, fraction)


def validate_vat_id(vat_id, country):
    """Shape of a VAT number: country prefix, then 8 to 12 letters or digits."""
    cleaned = vat_id.replace(" ", "").replace(".", "").upper()
    if not cleaned.startswith(country):
        return False
    body = cleaned[len(country) :]
    if len(body) < 8:
        return False
    if len(body) > 12:
        return False
    if not body.isalnum():
        return False
    return True
