"""Import of product lists from CSV."""

import csv
import io
from typing import Any, Dict, List

from storefront.catalog import Catalog, Product
from storefront.errors import InvalidValue, StorefrontError
from storefront.money import Money
from storefront.sku import normalize

REQUIRED = ["sku", "name", "price"]
ALIASES = {"article": "sku", "title": "name", "amount": "price", "weight": "weight_g"}
TRUE = ["1", "y", "yes", "true"]
FALSE = ["0", "n", "no", "false"]


class Report(object):
    """What an import did."""

    def __init__(self, created=[], updated=[], problems=[]):
        self.created = list(created)
        self.updated = list(updated)
        self.problems = list(problems)

    @property
    def ok(self):
        if len(self.problems) == 0:
            return True
        else:
            return False

    def __str__(self):
        return "%d created, %d updated, %d problems" % (
            len(self.created),
            len(self.updated),
            len(self.problems),
        )


def parse_bool(text, default=True):
    value = text.strip().lower()
    if value == "":
        return default
    elif value in TRUE:
        return True
    elif value in FALSE:
        return False
    else:
        raise InvalidValue("not a yes or no: %r" % text)


def header(names: List[str]) -> List[str]:
    """Canonical column names; unknown columns are kept, missing ones are an error."""
    result = []
    for name in names:
        key = name.strip().lower().replace(" ", "_")
        if key in ALIASES:
            key = ALIASES[key]
        if key in result:
            raise InvalidValue("column %r appears twice" % key)
        result.append(key)
    missing = []
    for name in REQUIRED:
        if name not in result:
            missing.append(name)
    if len(missing) > 0:
        raise InvalidValue("missing columns: %s" % ", ".join(missing))
    return result


def read_rows(text: str, delimiter: str = ",") -> List[Dict[str, Any]]:
    """Rows as dicts with their line number under ``line``; blank rows are skipped."""
    rows = []
    names = None
    number = 0
    for values in csv.reader(io.StringIO(text), delimiter=delimiter):
        number = number + 1
        if len([value for value in values if value.strip() != ""]) == 0:
            continue
        if names is None:
            names = header(values)
            continue
        row = {"line": number}  # type: Dict[str, Any]
        for index in range(len(names)):
            if index < len(values):
                row[names[index]] = values[index].strip()
            else:
                row[names[index]] = ""
        rows.append(row)
    if names is None:
        raise InvalidValue("file is empty")
    return rows


def build(row, currency="EUR"):
    """A product from one row."""
    weight = 0
    if "weight_g" in row:
        if row["weight_g"] != "":
            try:
                weight = int(row["weight_g"])
            except ValueError:
                raise InvalidValue("weight is not a number: %r" % row["weight_g"])
    tags = []
    if "tags" in row:
        for tag in row["tags"].split("|"):
            if tag.strip() != "":
                tags.append(tag.strip().lower())
    active = True
    if "active" in row:
        active = parse_bool(row["active"])
    price = Money.parse(row["price"].replace(",", "."), currency)
    return Product(row["sku"], row["name"], price, weight, tags, active)


def run(catalog: Catalog, text: str, delimiter: str = ",", currency: str = "EUR", dry_run=False):
    """Create or replace products; a bad row is reported and does not stop the rest."""
    report = Report()
    known = set()
    for product in catalog:
        known.add(product.sku)
    for row in read_rows(text, delimiter):
        try:
            product = build(row, currency)
        except StorefrontError as error:
            report.problems.append("line %d: %s" % (row["line"], error.message))
            continue
        if product.sku in known:
            report.updated.append(product.sku)
            if not dry_run:
                catalog.remove(product.sku)
                catalog.add(product)
        else:
            report.created.append(product.sku)
            known.add(product.sku)
            if not dry_run:
                catalog.add(product)
    return report


def guess_delimiter(text):
    """The most frequent of comma, semicolon and tab in the first line."""
    first = text.split("\n", 1)[0]
    best = ","
    for candidate in [";", "\t"]:
        if first.count(candidate) > first.count(best):
            best = candidate
    return best


def skus(text, delimiter=","):
    """Only the SKUs of a file, normalised, without duplicates, in file order."""
    result = []
    for row in read_rows(text, delimiter):
        key = normalize(row["sku"])
        if key not in result:
            result.append(key)
    return result
