import pytest

from storefront.addresses import Address
from storefront.errors import InvalidValue
from storefront.money import Money
from storefront.shipping import (
    EXPRESS_SURCHARGE,
    TARIFF,
    TRANSIT_DAYS,
    chargeable_g,
    delivery_day,
    rate,
    shipment_rate,
    split_parcels,
    tracking_url,
    volumetric_g,
)


def to(country):
    return Address("Ada", "Street 1", "City", "12345", country)


DE, FR, US = to("DE"), to("FR"), to("US")


@pytest.mark.parametrize(
    ("address", "weight", "amount"),
    [
        (DE, 0, 390),
        (DE, 1000, 390),
        (DE, 1001, 590),
        (DE, 5000, 590),
        (DE, 10000, 890),
        (DE, 31500, 1690),
        (FR, 1000, 890),
        (FR, 5001, 1990),
        (FR, 31500, 3290),
        (US, 1, 1590),
        (US, 5000, 2990),
        (US, 10000, 4990),
    ],
)
def test_rate(address, weight, amount):
    assert rate(address, weight) == Money(amount)


@pytest.mark.parametrize(("address", "weight"), [(DE, 31501), (FR, 31501), (US, 10001)])
def test_too_heavy(address, weight):
    with pytest.raises(InvalidValue, match=rf"^parcel is too heavy \(weight_g={weight}, zone="):
        rate(address, weight)


def test_negative_weight():
    with pytest.raises(InvalidValue, match="^weight cannot be negative"):
        rate(DE, -1)


def test_express():
    assert EXPRESS_SURCHARGE == 1000
    assert rate(DE, 1, True) == Money(1390)
    assert rate(FR, 1, True) == Money(1890)
    with pytest.raises(InvalidValue, match=r"^no express service \(zone=world\)"):
        rate(US, 1, True)


@pytest.mark.parametrize(
    ("address", "express", "subtotal", "free_from", "amount"),
    [
        (DE, False, Money(5000), Money(5000), 0),
        (DE, False, Money(4999), Money(5000), 390),
        (DE, False, Money(5001), Money(5000), 0),
        (DE, False, None, Money(5000), 390),
        (DE, False, Money(5000), None, 390),
        (DE, True, Money(5000), Money(5000), 1390),
        (FR, False, Money(5000), Money(5000), 890),
    ],
)
def test_free_shipping(address, express, subtotal, free_from, amount):
    assert rate(address, 1, express, subtotal, free_from) == Money(amount)


def test_split_parcels():
    assert split_parcels([3, 5, 4, 2], 7) == [[5, 2], [4, 3]]
    assert split_parcels([7, 7], 7) == [[7], [7]]
    assert split_parcels([], 7) == []
    assert split_parcels([1, 1], 2) == [[1, 1]]
    assert split_parcels([4, 2, 2], 6) == [[4, 2], [2]]
    assert split_parcels([31500]) == [[31500]]


def test_split_parcels_refuses_what_fits_nowhere():
    with pytest.raises(InvalidValue, match=r"^an item is too heavy for a parcel \(weight_g=8\)"):
        split_parcels([1, 8], 7)


def test_shipment_rate():
    assert shipment_rate(DE, [800, 200]) == Money(390)
    assert shipment_rate(US, [6000, 6000]) == Money(9980)
    assert shipment_rate(FR, [20000, 20000], True) == Money(8580)
    assert shipment_rate(DE, []) == Money(0)


@pytest.mark.parametrize(
    ("day", "hour", "express", "expected"),
    [
        (0, 9, False, 2),
        (0, 13, False, 2),
        (0, 14, False, 3),
        (0, 9, True, 1),
        (3, 9, False, 7),
        (4, 9, True, 7),
        (5, 9, True, 8),
        (6, 9, True, 8),
        (6, 20, True, 8),
        (4, 15, True, 8),
        (7, 9, False, 9),
    ],
)
def test_delivery_day(day, hour, express, expected):
    assert delivery_day(DE, day, hour, express) == expected


def test_delivery_day_by_zone():
    assert delivery_day(FR, 0) == 4
    assert delivery_day(US, 0) == 11
    assert TRANSIT_DAYS == {"domestic": 2, "eu": 4, "world": 9}


def test_delivery_day_skips_holidays():
    assert delivery_day(DE, 0, holidays=[1]) == 3
    assert delivery_day(DE, 0, holidays=[0]) == 3
    assert delivery_day(DE, 0, holidays=[2, 3]) == 4
    assert delivery_day(DE, 0, express=True, holidays=[5]) == 1


def test_volumetric():
    assert volumetric_g(300, 200, 100) == 1200
    assert volumetric_g(10, 10, 49) == 0
    assert volumetric_g(10, 10, 50) == 1
    assert volumetric_g(10, 10, 99) == 1


def test_chargeable():
    assert chargeable_g(500) == 500
    assert chargeable_g(500, (300, 200, 100)) == 1200
    assert chargeable_g(1201, (300, 200, 100)) == 1201
    assert chargeable_g(1, (100, 200, 300)) == 1200


def test_tracking_url():
    assert tracking_url(" DHL", "42") == "https://track.example/dhl/42"
    assert tracking_url("ups", "42") == "https://track.example/ups?num=42"
    assert tracking_url("post", "42") is None
    assert tracking_url("dhl", "42", {"dhl": "https://own.example/%s"}) == "https://own.example/42"
    assert tracking_url("post", "7", {"post": "p:%s"}) == "p:7"


def test_tariff():
    assert TARIFF["domestic"] == [(1000, 390), (5000, 590), (10000, 890), (31500, 1690)]
    assert TARIFF["eu"] == [(1000, 890), (5000, 1390), (10000, 1990), (31500, 3290)]
    assert TARIFF["world"] == [(1000, 1590), (5000, 2990), (10000, 4990)]
