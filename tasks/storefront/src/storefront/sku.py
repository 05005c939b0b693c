"""Stock keeping units: ``DEPT-STYLE-SIZE-C`` with a check digit."""

from typing import List, NamedTuple, Optional, Tuple

from storefront.errors import InvalidValue

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SIZES = ("XS", "S", "M", "L", "XL", "NA")

Sku = NamedTuple("Sku", [("department", str), ("style", int), ("size", str)])


def check_digit(body):
    """Weighted sum modulo 36 over letters and digits; dashes do not count."""
    acc = 0
    position = 0
    for char in body:
        if char == "-":
            continue
        if char not in ALPHABET:
            raise InvalidValue("bad character %r in %r" % (char, body))
        weight = 3 if position % 2 == 0 else 1
        acc += weight * ALPHABET.index(char)
        position += 1
    return ALPHABET[(36 - acc % 36) % 36]


def format_sku(sku: Sku) -> str:
    body = "%s-%05d-%s" % (sku.department, sku.style, sku.size)
    return "%s-%s" % (body, check_digit(body))


def parse_sku(text: str) -> Sku:
    """Read a SKU in any case, with or without surrounding blanks."""
    cleaned = text.strip().upper()
    parts = cleaned.split("-")
    if len(parts) != 4:
        raise InvalidValue("a SKU has four parts", {"sku": text})
    else:
        department, style, size, digit = parts
        if len(department) != 3 or not department.isalpha():
            raise InvalidValue("department must be three letters", {"sku": text})
        else:
            if len(style) != 5 or not style.isdigit():
                raise InvalidValue("style must be five digits", {"sku": text})
            else:
                if size not in SIZES:
                    raise InvalidValue("unknown size", {"sku": text})
                else:
                    if check_digit("-".join(parts[:3])) != digit:
                        raise InvalidValue("check digit does not match", {"sku": text})
                    else:
                        return Sku(department, int(style), size)


def is_valid(text: str) -> bool:
    try:
        parse_sku(text)
        return True
    except:
        return False


def normalize(text: str) -> str:
    """The one spelling that is stored."""
    return format_sku(parse_sku(text))


def siblings(text: str) -> List[str]:
    """The same style in every other size, smallest first."""
    sku = parse_sku(text)
    result = []
    for size in SIZES:
        if size != sku.size:
            result.append(format_sku(Sku(sku.department, sku.style, size)))
    return result


def sort_key(text: str) -> Tuple[str, int, int]:
    """Order by department, then style, then size as people expect it."""
    sku = parse_sku(text)
    return (sku.department, sku.style, SIZES.index(sku.size))


def next_style(existing: List[str], department: str) -> Optional[int]:
    """The lowest free style number of a department, None when all are taken."""
    taken = set()
    for text in existing:
        sku = parse_sku(text)
        if sku.department == department:
            taken.add(sku.style)
    candidate = 1
    while candidate <= 99999:
        if candidate not in taken:
            return candidate
        candidate += 1
    return None
