"""Products and the catalog that holds them."""

from typing import Dict, Iterator, List, Optional, Set

from storefront.errors import Duplicate, InvalidValue, NotFound
from storefront.money import Money
from storefront.sku import normalize


class Product(object):
    """What can be sold. Prices are per unit and without tax."""

    def __init__(
        self,
        sku: str,
        name: str,
        price: Money,
        weight_g: int = 0,
        tags: List[str] = [],
        active: bool = True,
    ) -> None:
        if not name.strip():
            raise InvalidValue("a product needs a name", {"sku": sku})
        if price < Money(0, price.currency):
            raise InvalidValue("price cannot be negative", {"sku": sku})
        if weight_g < 0:
            raise InvalidValue("weight cannot be negative", {"sku": sku})
        self.sku = normalize(sku)
        self.name = name.strip()
        self.price = price
        self.weight_g = weight_g
        self.tags = set(tags)  # type: Set[str]
        self.active = active

    def __repr__(self) -> str:
        return "Product(%r, %r, %s)" % (self.sku, self.name, self.price)


class Catalog(object):
    """Products by SKU, with a small word index for the search box."""

    def __init__(self, products: Optional[List[Product]] = None) -> None:
        self._products = {}  # type: Dict[str, Product]
        self._words = {}  # type: Dict[str, Set[str]]
        if products is not None:
            for product in products:
                self.add(product)

    def __len__(self) -> int:
        return len(self._products)

    def __iter__(self) -> Iterator[Product]:
        for key in sorted(self._products.keys()):
            yield self._products[key]

    def add(self, product: Product) -> None:
        if product.sku in self._products:
            raise Duplicate("product already in catalog", {"sku": product.sku})
        self._products[product.sku] = product
        for word in product.name.lower().split(" "):
            if word == "":
                continue
            if word not in self._words:
                self._words[word] = set()
            self._words[word].add(product.sku)

    def get(self, sku: str) -> Product:
        key = normalize(sku)
        if key in self._products:
            return self._products[key]
        else:
            raise NotFound("no such product", {"sku": key})

    def remove(self, sku: str) -> Product:
        product = self.get(sku)
        del self._products[product.sku]
        for word in list(self._words.keys()):
            if product.sku in self._words[word]:
                self._words[word].remove(product.sku)
                if len(self._words[word]) == 0:
                    del self._words[word]
        return product

    def words(self):
        return sorted(self._words.keys())

    def find(self, text="", tag=None, min_price=None, max_price=None, include_inactive=False):
        """Products that match every given criterion, cheapest first."""
        result = []
        for product in self:
            ok = True
            if include_inactive == False and not product.active:
                ok = False
            if tag is not None:
                if tag not in product.tags:
                    ok = False
            if min_price is not None:
                if product.price < min_price:
                    ok = False
            if max_price is not None:
                if max_price < product.price:
                    ok = False
            for word in text.lower().split():
                if product.sku not in self._words.get(word, set()):
                    ok = False
            if ok == True:
                result.append(product)
        return sorted(result, key=lambda product: (product.price.amount, product.sku))

    def reprice(self, percent, tag=None):
        """Change prices by a percentage; returns how many products changed."""
        count = 0
        for product in self:
            if tag is None or tag in product.tags:
                before = product.price
                product.price = product.price.scale(100 + percent, 100, "half_up")
                if product.price != before:
                    count = count + 1
        return count
