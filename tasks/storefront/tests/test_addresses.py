import pytest

from storefront.addresses import Address, clean, clean_postcode, label, problems, validate, zone
from storefront.errors import InvalidValue


def make(**changes):
    fields = {
        "name": "Ada Byron",
        "line1": "Hauptstr. 5",
        "city": "Köln",
        "postcode": "50667",
        "country": "DE",
    }
    fields.update(changes)
    return Address(**fields)


def test_values_are_cleaned():
    address = make(name="  Ada \n Byron ", line2=" 2nd\tfloor ", country=" us", state=" ny ")
    assert (address.name, address.line2, address.country, address.state) == (
        "Ada Byron",
        "2nd floor",
        "US",
        "NY",
    )


def test_optional_parts_are_empty_text():
    assert (make().line2, make().state) == ("", "")


def test_clean():
    assert clean(" a \t\n b ") == "a b"


@pytest.mark.parametrize(
    ("text", "country", "expected"),
    [
        ("sw1a1aa", "GB", "SW1A 1AA"),
        (" m1 1ae ", "GB", "M1 1AE"),
        ("1aa", "GB", "1AA"),
        ("x1aa", "GB", "X 1AA"),
        (" 50 667", "DE", "50 667"),
    ],
)
def test_clean_postcode(text, country, expected):
    assert clean_postcode(text, country) == expected


def test_equal_addresses_ignore_case_and_name():
    one = make(line2="b", state="x")
    two = make(name="Other", line1="HAUPTSTR. 5", line2="B", city="KÖLN", state="X")
    assert one == two
    assert hash(one) == hash(two)
    assert len({one, two}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"line1": "x"},
        {"line2": "x"},
        {"city": "x"},
        {"postcode": "1"},
        {"state": "x"},
        {"country": "FR"},
    ],
)
def test_every_part_of_the_place_counts(change):
    assert make(**change) != make()


def test_not_equal_to_other_things():
    assert make() != "Hauptstr. 5"
    assert make().__eq__("x") is NotImplemented


def test_a_good_address_has_no_problems():
    assert problems(make()) == []
    assert validate(make()) == make()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": " "}, ["name is missing"]),
        ({"line1": ""}, ["line1 is missing"]),
        ({"city": ""}, ["city is missing"]),
        ({"line1": "x" * 35}, []),
        ({"line1": "x" * 36}, ["address lines are limited to 35 characters"]),
        ({"line2": "x" * 35}, []),
        ({"line2": "x" * 36}, ["address lines are limited to 35 characters"]),
        ({"country": "DEU"}, ["country must be a two-letter code"]),
        ({"country": "D"}, ["country must be a two-letter code"]),
        ({"country": "D1"}, ["country must be a two-letter code"]),
        ({"postcode": "5066"}, ["postcode '5066' is not valid in DE"]),
        ({"country": "BR", "postcode": "anything"}, []),
        ({"country": "ZA", "postcode": "anything"}, []),
        ({"country": "GB", "postcode": "sw1a1aa"}, []),
        ({"country": "GB", "postcode": "12345"}, ["postcode '12 345' is not valid in GB"]),
        ({"country": "US", "postcode": "12345-6789", "state": "NY"}, []),
        ({"country": "US", "postcode": "12345"}, ["state is required in the US"]),
        ({"country": "US", "postcode": "12345", "state": "NYC"}, ["state is required in the US"]),
    ],
)
def test_problems(change, expected):
    assert problems(make(**change)) == expected


def test_problems_come_in_the_order_of_the_form():
    address = Address("", "", "", "1", "US")
    assert problems(address) == [
        "name is missing",
        "line1 is missing",
        "city is missing",
        "postcode '1' is not valid in US",
        "state is required in the US",
    ]
    with pytest.raises(InvalidValue, match="^name is missing; line1 is missing; city is missing; "):
        validate(address)


@pytest.mark.parametrize(
    ("country", "home", "expected"),
    [
        ("DE", "DE", "domestic"),
        ("FR", "DE", "eu"),
        ("US", "DE", "world"),
        ("GB", "GB", "domestic"),
        ("DE", "GB", "world"),
        ("US", "GB", "world"),
    ],
)
def test_zone(country, home, expected):
    assert zone(make(country=country), home) == expected


def test_zone_from_home():
    assert zone(make()) == "domestic"


def test_label_domestic():
    assert label(make(line2="Hof")) == "ADA BYRON\nHauptstr. 5\nHof\n50667 Köln"


def test_label_with_sender():
    assert label(make(), "Shop") == "From: Shop\nADA BYRON\nHauptstr. 5\n50667 Köln"
    assert label(make(), "") == "ADA BYRON\nHauptstr. 5\n50667 Köln"


@pytest.mark.parametrize(
    ("country", "state", "expected"),
    [
        ("US", "NY", "Köln NY 50667\nUS"),
        ("GB", "", "Köln 50 667\nGB"),
        ("CH", "", "50667 Köln\nCH"),
    ],
)
def test_label_abroad(country, state, expected):
    text = label(make(country=country, state=state))
    assert text == "ADA BYRON\nHauptstr. 5\n" + expected
