"""Postal addresses: cleaning, validation and labels."""

import re
from typing import Dict, List, Optional

from storefront.errors import InvalidValue

POSTCODES = {
    "DE": r"^\d{5}$",
    "FR": r"^\d{5}$",
    "GB": r"^[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}$",
    "US": r"^\d{5}(-\d{4})?$",
}  # type: Dict[str, str]

EU = ["DE", "FR", "IT", "ES", "NL"]


class Address(object):
    """One address, cleaned on the way in."""

    def __init__(self, name, line1, city, postcode, country, line2=None, state=None):
        self.name = clean(name)
        self.line1 = clean(line1)
        self.line2 = clean(line2) if line2 is not None else ""
        self.city = clean(city)
        self.country = country.strip().upper()
        self.state = state.strip().upper() if state is not None else ""
        self.postcode = clean_postcode(postcode, self.country)

    def __eq__(self, other):
        if isinstance(other, Address):
            return self.key() == other.key()
        return NotImplemented

    def __hash__(self):
        return hash(self.key())

    def key(self):
        """Equal for two spellings of the same place; the name does not count."""
        return (
            self.line1.lower(),
            self.line2.lower(),
            self.city.lower(),
            self.postcode,
            self.state,
            self.country,
        )


def clean(text: str) -> str:
    """Collapse blanks and line breaks."""
    return re.sub(r"\s+", " ", text).strip()


def clean_postcode(text: str, country: str) -> str:
    value = clean(text).upper()
    if country == "GB":
        value = value.replace(" ", "")
        if len(value) > 3:
            value = value[:-3] + " " + value[-3:]
    return value


def problems(address: Address) -> List[str]:
    """Everything that is wrong with an address, in the order of the form."""
    result = []
    if address.name == "":
        result.append("name is missing")
    if address.line1 == "":
        result.append("line1 is missing")
    if address.city == "":
        result.append("city is missing")
    if len(address.line1) > 35 or len(address.line2) > 35:
        result.append("address lines are limited to 35 characters")
    if len(address.country) != 2 or not address.country.isalpha():
        result.append("country must be a two-letter code")
    else:
        if address.country in POSTCODES:
            if not re.match(POSTCODES[address.country], address.postcode):
                result.append(
                    "postcode %r is not valid in %s" % (address.postcode, address.country)
                )
        if address.country == "US":
            if len(address.state) != 2:
                result.append("state is required in the US")
    return result


def validate(address: Address) -> Address:
    found = problems(address)
    if len(found) > 0:
        raise InvalidValue("; ".join(found))
    return address


def zone(address: Address, home: str = "DE") -> str:
    """Shipping zone: domestic, eu or world."""
    if address.country == home:
        return "domestic"
    else:
        if address.country in EU:
            if home in EU:
                return "eu"
            else:
                return "world"
        else:
            return "world"


def label(address: Address, sender: Optional[str] = None) -> str:
    """Lines for the parcel label; the country only when it leaves the EU."""
    lines = []
    if sender:
        lines.append("From: %s" % sender)
    lines.append(address.name.upper())
    lines.append(address.line1)
    if address.line2:
        lines.append(address.line2)
    if address.country == "US" or address.country == "GB":
        city_line = "%s %s %s" % (address.city, address.state, address.postcode)
    else:
        city_line = "%s %s" % (address.postcode, address.city)
    lines.append(clean(city_line))
    if address.country not in EU:
        lines.append(address.country)
    return "\n".join(lines)
