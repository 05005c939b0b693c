import pytest

from storefront.catalog import Catalog, Product
from storefront.errors import Duplicate, InvalidValue, NotFound
from storefront.money import Money
from storefront.sku import Sku, format_sku

HAT = format_sku(Sku("HAT", 1, "NA"))
SHIRT = format_sku(Sku("SHI", 17, "M"))
SOCK = format_sku(Sku("SOC", 3, "S"))


@pytest.fixture
def catalog():
    return Catalog(
        [
            Product(SHIRT, "Blue Linen Shirt", Money(4990), 250, ["summer", "linen"]),
            Product(SOCK, "Blue  Socks", Money(790), 60, ["basic"]),
            Product(HAT, "Straw Hat", Money(2490), 120, ["summer"], active=False),
        ]
    )


def found(products):
    return [product.sku for product in products]


def test_product_cleans_its_values():
    product = Product(SHIRT.lower(), "  Shirt ", Money(1), tags=["a", "a"])
    assert (product.sku, product.name, product.tags) == (SHIRT, "Shirt", {"a"})
    assert (product.weight_g, product.active) == (0, True)


def test_product_tags_are_not_shared():
    one, two = Product(SHIRT, "a", Money(1)), Product(HAT, "b", Money(1))
    one.tags.add("x")
    assert two.tags == set()


@pytest.mark.parametrize(
    ("name", "price", "weight", "message"),
    [
        (" ", 1, 0, "a product needs a name"),
        ("a", -1, 0, "price cannot be negative"),
        ("a", 1, -1, "weight cannot be negative"),
    ],
)
def test_product_validation(name, price, weight, message):
    with pytest.raises(InvalidValue, match=message):
        Product(SHIRT, name, Money(price), weight)


def test_product_may_be_free():
    assert Product(SHIRT, "a", Money(0)).price == Money(0)


def test_repr():
    product = Product(HAT, "Hat", Money(100))
    assert repr(product) == f"Product({HAT!r}, 'Hat', €1.00)"


def test_catalog_iterates_in_sku_order(catalog):
    assert found(catalog) == [HAT, SHIRT, SOCK]
    assert len(catalog) == 3
    assert len(Catalog()) == 0


def test_get_normalizes(catalog):
    assert catalog.get(" " + HAT.lower()).name == "Straw Hat"


def test_get_unknown(catalog):
    missing = format_sku(Sku("HAT", 9, "NA"))
    with pytest.raises(NotFound) as caught:
        catalog.get(missing)
    assert caught.value.details == {"sku": missing}


def test_add_twice(catalog):
    with pytest.raises(Duplicate, match="^product already in catalog"):
        catalog.add(Product(HAT, "Other Hat", Money(1)))
    assert "other" not in catalog.words()


def test_remove_forgets_words_that_nobody_else_uses(catalog):
    assert catalog.words() == ["blue", "hat", "linen", "shirt", "socks", "straw"]
    removed = catalog.remove(SHIRT)
    assert removed.sku == SHIRT
    assert catalog.words() == ["blue", "hat", "socks", "straw"]
    assert found(catalog.find("blue")) == [SOCK]
    with pytest.raises(NotFound):
        catalog.get(SHIRT)


def test_find_everything_active_cheapest_first(catalog):
    assert found(catalog.find()) == [SOCK, SHIRT]
    assert found(catalog.find(include_inactive=True)) == [SOCK, HAT, SHIRT]


def test_find_breaks_price_ties_by_sku():
    catalog = Catalog([Product(SOCK, "a", Money(5)), Product(HAT, "b", Money(5))])
    assert found(catalog.find()) == [HAT, SOCK]


def test_find_needs_every_word(catalog):
    assert found(catalog.find("BLUE shirt")) == [SHIRT]
    assert found(catalog.find("blue")) == [SOCK, SHIRT]
    assert catalog.find("blue hat", include_inactive=True) == []
    assert catalog.find("nothing") == []


def test_find_by_tag(catalog):
    assert found(catalog.find(tag="summer")) == [SHIRT]
    assert found(catalog.find(tag="summer", include_inactive=True)) == [HAT, SHIRT]
    assert catalog.find(tag="winter") == []


def test_find_price_bounds_are_included(catalog):
    assert found(catalog.find(min_price=Money(4990))) == [SHIRT]
    assert found(catalog.find(min_price=Money(791))) == [SHIRT]
    assert found(catalog.find(max_price=Money(790))) == [SOCK]
    assert found(catalog.find(max_price=Money(4989))) == [SOCK]
    assert catalog.find(min_price=Money(791), max_price=Money(4989)) == []


def test_reprice_everything(catalog):
    assert catalog.reprice(10) == 3
    assert catalog.get(SOCK).price == Money(869)
    assert catalog.get(SHIRT).price == Money(5489)


def test_reprice_by_tag_counts_only_changes(catalog):
    catalog.get(HAT).price = Money(0)
    assert catalog.reprice(-50, "summer") == 1
    assert catalog.get(SHIRT).price == Money(2495)
    assert catalog.get(SOCK).price == Money(790)
    assert catalog.reprice(0) == 0


def test_reprice_rounds_half_up():
    catalog = Catalog([Product(HAT, "Hat", Money(5))])
    assert catalog.reprice(-50) == 1
    assert catalog.get(HAT).price == Money(3)
