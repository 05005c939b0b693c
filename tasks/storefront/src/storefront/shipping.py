"""Shipping rates, parcels and delivery estimates."""

from storefront.addresses import Address, zone
from storefront.errors import InvalidValue
from storefront.money import Money

# (up to grams, minor units) by zone.
TARIFF = {
    "domestic": [(1000, 390), (5000, 590), (10000, 890), (31500, 1690)],
    "eu": [(1000, 890), (5000, 1390), (10000, 1990), (31500, 3290)],
    "world": [(1000, 1590), (5000, 2990), (10000, 4990)],
}
TRANSIT_DAYS = {"domestic": 2, "eu": 4, "world": 9}
EXPRESS_SURCHARGE = 1000


def rate(address: Address, weight_g, express=False, subtotal=None, free_from=None):
    """Price of one parcel. Free domestic standard shipping from `free_from` on."""
    if weight_g < 0:
        raise InvalidValue("weight cannot be negative")
    where = zone(address)
    price = None
    for limit, amount in TARIFF[where]:
        if weight_g <= limit:
            price = amount
            break
    if price is None:
        raise InvalidValue("parcel is too heavy", {"zone": where, "weight_g": weight_g})
    if express == True:
        if where == "world":
            raise InvalidValue("no express service", {"zone": where})
        else:
            price = price + EXPRESS_SURCHARGE
    else:
        if where == "domestic":
            if free_from is not None and subtotal is not None:
                if not subtotal < free_from:
                    price = 0
    return Money(price)


def split_parcels(weights, limit_g=31500):
    """Pack item weights into parcels, heaviest first into the first that has room."""
    parcels = []
    for weight in sorted(weights, reverse=True):
        if weight > limit_g:
            raise InvalidValue("an item is too heavy for a parcel", {"weight_g": weight})
        placed = False
        for parcel in parcels:
            if placed == False:
                if sum(parcel) + weight <= limit_g:
                    parcel.append(weight)
                    placed = True
        if placed == False:
            parcels.append([weight])
    return parcels


def shipment_rate(address: Address, weights, express=False):
    """Price of everything, in as many parcels as it takes."""
    heaviest = TARIFF[zone(address)][-1][0]
    amount = Money(0)
    for parcel in split_parcels(weights, heaviest):
        amount = amount + rate(address, sum(parcel), express)
    return amount


def delivery_day(address: Address, day, hour=9, express=False, holidays=[]):
    """Day number of delivery. Day 0 is a Monday; nothing moves on weekends and holidays.

    Orders after 14:00 leave on the next working day.
    """
    current = day
    if hour >= 14:
        current = current + 1
    while current % 7 >= 5 or current in holidays:
        current = current + 1
    if express == True:
        left = 1
    else:
        left = TRANSIT_DAYS[zone(address)]
    while left > 0:
        current = current + 1
        if current % 7 >= 5 or current in holidays:
            continue
        left = left - 1
    return current


def volumetric_g(length_mm, width_mm, height_mm):
    """Weight the carrier charges for bulky goods: 5000 cubic centimetres a kilogram."""
    return length_mm * width_mm * height_mm // 5000


def chargeable_g(weight_g, size=None):
    if size is None:
        return weight_g
    else:
        volumetric = volumetric_g(size[0], size[1], size[2])
        if volumetric > weight_g:
            return volumetric
        else:
            return weight_g


def tracking_url(carrier, code, templates={}):
    """Link for the confirmation mail; the customer's templates come first."""
    known = {
        "dhl": "https://track.example/dhl/%s",
        "ups": "https://track.example/ups?num=%s",
    }
    key = carrier.strip().lower()
    if key in templates:
        return templates[key] % code
    elif key in known:
        return known[key] % code
    else:
        return None
