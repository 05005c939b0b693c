import pytest

from storefront.catalog import Catalog, Product
from storefront.errors import InvalidValue
from storefront.importer import (
    Report,
    build,
    guess_delimiter,
    header,
    parse_bool,
    read_rows,
    run,
    skus,
)
from storefront.money import Money
from storefront.sku import Sku, format_sku

SHIRT = format_sku(Sku("SHI", 17, "M"))
HAT = format_sku(Sku("HAT", 1, "NA"))


def test_report():
    report = Report(["a"], ["b", "c"], ["d"])
    assert str(report) == "1 created, 2 updated, 1 problems"
    assert report.ok is False
    assert Report().ok is True
    assert Report().created == Report().updated == Report().problems == []


def test_report_copies():
    names = ["a"]
    report = Report(names, names, names)
    names.append("b")
    assert (report.created, report.updated, report.problems) == (["a"], ["a"], ["a"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (" Yes ", True),
        ("1", True),
        ("y", True),
        ("true", True),
        ("no", False),
        ("0", False),
        ("n", False),
        ("FALSE", False),
    ],
)
def test_parse_bool(text, expected):
    assert parse_bool(text) is expected
    assert parse_bool(text, not expected) is expected


def test_parse_bool_default_and_error():
    assert parse_bool(" ") is True
    assert parse_bool("", False) is False
    with pytest.raises(InvalidValue, match="^not a yes or no: 'maybe'$"):
        parse_bool("maybe")


def test_header():
    assert header(["Article", " Title ", "PRICE", "Weight G", "colour"]) == [
        "sku",
        "name",
        "price",
        "weight_g",
        "colour",
    ]
    assert header(["amount", "weight", "sku", "name"]) == ["price", "weight_g", "sku", "name"]


def test_header_errors():
    with pytest.raises(InvalidValue, match="^column 'sku' appears twice$"):
        header(["sku", "article", "name", "price"])
    with pytest.raises(InvalidValue, match="^missing columns: sku, price$"):
        header(["name"])


def test_read_rows():
    text = "\nsku,name,price\n\na, b ,1\n , ,\nc,d\n"
    assert read_rows(text) == [
        {"line": 4, "sku": "a", "name": "b", "price": "1"},
        {"line": 6, "sku": "c", "name": "d", "price": ""},
    ]


def test_read_rows_ignores_extra_values():
    assert read_rows("sku;name;price\na;b;1;x\n", ";") == [
        {"line": 2, "sku": "a", "name": "b", "price": "1"}
    ]


def test_read_rows_of_nothing():
    with pytest.raises(InvalidValue, match="^file is empty"):
        read_rows(" \n\n")
    assert read_rows("sku,name,price") == []


def test_build_minimal():
    product = build({"sku": SHIRT, "name": "Shirt", "price": "12.50"})
    assert (product.sku, product.name, product.price) == (SHIRT, "Shirt", Money(1250))
    assert (product.weight_g, product.tags, product.active) == (0, set(), True)


def test_build_everything():
    row = {
        "sku": SHIRT,
        "name": "Shirt",
        "price": "12,50",
        "weight_g": "250",
        "tags": "Summer| linen ||",
        "active": "no",
    }
    product = build(row, "USD")
    assert (product.price, product.weight_g) == (Money(1250, "USD"), 250)
    assert (product.tags, product.active) == ({"summer", "linen"}, False)


def test_build_blank_optionals():
    product = build(
        {"sku": SHIRT, "name": "a", "price": "1", "weight_g": "", "tags": "", "active": ""}
    )
    assert (product.weight_g, product.tags, product.active) == (0, set(), True)


def test_build_bad_weight():
    with pytest.raises(InvalidValue, match="^weight is not a number: 'heavy'$"):
        build({"sku": SHIRT, "name": "a", "price": "1", "weight_g": "heavy"})


@pytest.fixture
def catalog():
    return Catalog([Product(HAT, "Hat", Money(100))])


FILE = f"sku,name,price\n{SHIRT},Shirt,5\n{HAT},New hat,2\nbad,Bad,1\n{SHIRT},Shirt again,6\n"


def test_run(catalog):
    report = run(catalog, FILE)
    assert report.created == [SHIRT]
    assert report.updated == [HAT, SHIRT]
    assert report.problems == ["line 4: a SKU has four parts"]
    assert [(product.name, product.price) for product in catalog] == [
        ("New hat", Money(200)),
        ("Shirt again", Money(600)),
    ]


def test_dry_run_reports_the_same_and_changes_nothing(catalog):
    report = run(catalog, FILE, dry_run=True)
    assert str(report) == "1 created, 2 updated, 1 problems"
    assert [product.name for product in catalog] == ["Hat"]


def test_run_options(catalog):
    report = run(catalog, f"sku;name;price\n{SHIRT};Shirt;5\n", ";", "USD")
    assert report.ok is True
    assert catalog.get(SHIRT).price == Money(500, "USD")


def test_guess_delimiter():
    assert guess_delimiter("a,b,c;d") == ","
    assert guess_delimiter("a;b;c,d\n,,,,,,") == ";"
    assert guess_delimiter("a\tb\tc;d,e") == "\t"
    assert guess_delimiter("a;b,c") == ","
    assert guess_delimiter("") == ","
    assert guess_delimiter("a;b\tc") == ";"


def test_skus():
    text = f"sku;name;price\n{SHIRT.lower()};a;1\n{HAT};b;1\n{SHIRT};c;1\n"
    assert skus(text, ";") == [SHIRT, HAT]
