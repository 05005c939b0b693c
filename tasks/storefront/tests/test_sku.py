import pytest

from storefront.errors import InvalidValue
from storefront.sku import (
    SIZES,
    Sku,
    check_digit,
    format_sku,
    is_valid,
    next_style,
    normalize,
    parse_sku,
    siblings,
    sort_key,
)

SHIRT = "SHI-00017-M-L"


@pytest.mark.parametrize(
    ("body", "digit"),
    [("SHI-00017-M", "L"), ("SHI-00017-L", "O"), ("A", "6"), ("1", "X"), ("11", "W"), ("111", "T")],
)
def test_check_digit(body, digit):
    assert check_digit(body) == digit


def test_check_digit_of_zero():
    assert check_digit("0") == "0"
    assert check_digit("") == "0"


def test_check_digit_ignores_dashes_only():
    assert check_digit("A-B") == check_digit("AB")
    with pytest.raises(InvalidValue, match="^bad character '_' in 'A_B'$"):
        check_digit("A_B")


def test_check_digit_notices_swapped_letters():
    assert check_digit("AB") != check_digit("BA")


def test_format():
    assert format_sku(Sku("SHI", 17, "M")) == SHIRT


def test_parse():
    sku = parse_sku(SHIRT)
    assert sku == Sku("SHI", 17, "M")
    assert (sku.department, sku.style, sku.size) == ("SHI", 17, "M")


def test_parse_is_lenient_about_case_and_blanks():
    assert parse_sku("  shi-00017-m-l\n") == Sku("SHI", 17, "M")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SHI-00017-M", "a SKU has four parts"),
        ("SHI-00017-M-L-B", "a SKU has four parts"),
        ("SH-00017-M-B", "department must be three letters"),
        ("SHIR-00017-M-B", "department must be three letters"),
        ("SH1-00017-M-B", "department must be three letters"),
        ("SHI-0017-M-B", "style must be five digits"),
        ("SHI-000170-M-B", "style must be five digits"),
        ("SHI-0001A-M-B", "style must be five digits"),
        ("SHI-00017-XXL-B", "unknown size"),
        ("SHI-00017-M-C", "check digit does not match"),
        ("SHI-00017-M-M", "check digit does not match"),
    ],
)
def test_parse_errors(text, message):
    with pytest.raises(InvalidValue) as caught:
        parse_sku(text)
    assert caught.value.message == message
    assert caught.value.details == {"sku": text}


def test_is_valid():
    assert is_valid(SHIRT) is True
    assert is_valid("SHI-00017-M-C") is False
    assert is_valid("") is False


def test_normalize():
    assert normalize(" shi-00017-m-l") == SHIRT


def test_siblings():
    assert [parse_sku(text).size for text in siblings(SHIRT)] == ["XS", "S", "L", "XL", "NA"]
    assert all(parse_sku(text)[:2] == ("SHI", 17) for text in siblings(SHIRT))


def test_sort_key_orders_sizes_as_people_do():
    assert sort_key(SHIRT) == ("SHI", 17, 2)
    texts = [SHIRT, *siblings(SHIRT)]
    assert [parse_sku(text).size for text in sorted(texts, key=sort_key)] == list(SIZES)


def test_next_style():
    taken = [format_sku(Sku("SHI", style, "M")) for style in (1, 2, 4)]
    assert next_style(taken, "SHI") == 3
    assert next_style(taken[:1], "SHI") == 2
    assert next_style(taken, "HAT") == 1
    assert next_style(taken, "TIE") == 1
    assert next_style([], "SHI") == 1


def test_next_style_when_nearly_all_are_taken(monkeypatch):
    monkeypatch.setattr("storefront.sku.parse_sku", lambda sku: sku)
    taken = [Sku("SHI", style, "M") for style in range(1, 100000)]
    assert next_style(taken[:-1], "SHI") == 99999
    assert next_style(taken, "SHI") is None
