import pytest

from storefront.discounts import Line, Promotion, best_combination, redeem, reduction, subtotal
from storefront.errors import InvalidValue
from storefront.money import Money


@pytest.fixture
def basket():
    return [Line("a", 3, Money(1000)), Line("b", 1, Money(550))]


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("gift", 1, "unknown promotion kind 'gift'"),
        ("percent", 0, "value must be positive"),
        ("fixed", -1, "value must be positive"),
        ("percent", 101, "more than 100 percent"),
        ("bogo", 1, "bogo needs at least 2 units"),
    ],
)
def test_validation(kind, value, message):
    with pytest.raises(InvalidValue, match=message):
        Promotion("x", kind, value)


@pytest.mark.parametrize(
    ("kind", "value"), [("percent", 100), ("fixed", 1), ("fixed", 101), ("bogo", 2)]
)
def test_limits_are_allowed(kind, value):
    promotion = Promotion("spring", kind, value)
    assert (promotion.code, promotion.kind, promotion.value) == ("SPRING", kind, value)
    assert (promotion.min_total, promotion.stackable, promotion.ends) == (0, False, None)


def test_covers():
    assert Promotion("x", "fixed", 1).covers("a")
    assert Promotion("x", "fixed", 1, skus=["a"]).covers("a")
    assert not Promotion("x", "fixed", 1, skus=["b"]).covers("a")
    assert not Promotion("x", "fixed", 1, skus=["b", "c"]).covers("a")


def test_subtotal(basket):
    assert subtotal(basket) == Money(3550)
    assert subtotal([], "USD") == Money(0, "USD")


def test_percent_rounds_half_up(basket):
    assert reduction(Promotion("x", "percent", 10), basket) == Money(355)
    assert reduction(Promotion("x", "percent", 10), [Line("a", 1, Money(25))]) == Money(3)
    assert reduction(Promotion("x", "percent", 10, skus=["b"]), basket) == Money(55)


def test_fixed_is_capped_by_what_it_covers(basket):
    assert reduction(Promotion("x", "fixed", 500), basket) == Money(500)
    assert reduction(Promotion("x", "fixed", 600, skus=["b"]), basket) == Money(550)
    assert reduction(Promotion("x", "fixed", 9999), basket) == Money(3550)


def test_bogo_counts_per_line(basket):
    assert reduction(Promotion("x", "bogo", 2), basket) == Money(1000)
    assert reduction(Promotion("x", "bogo", 3), basket) == Money(1000)
    assert reduction(Promotion("x", "bogo", 4), basket) == Money(0)
    lines = [Line("a", 4, Money(10)), Line("b", 5, Money(7))]
    assert reduction(Promotion("x", "bogo", 2), lines) == Money(34)


def test_nothing_covered(basket):
    assert reduction(Promotion("x", "percent", 10, skus=["z"]), basket) == Money(0)


def test_minimum_counts_the_whole_basket(basket):
    assert reduction(Promotion("x", "fixed", 100, 3550, skus=["b"]), basket) == Money(100)
    assert reduction(Promotion("x", "fixed", 100, 3551), basket) == Money(0)


def test_end_is_excluded(basket):
    promotion = Promotion("x", "fixed", 100, ends=50)
    assert reduction(promotion, basket, now=49) == Money(100)
    assert reduction(promotion, basket, now=50) == Money(0)


def test_currency():
    lines = [Line("a", 1, Money(1000, "USD"))]
    assert reduction(Promotion("x", "fixed", 100), lines, "USD") == Money(100, "USD")
    assert best_combination([Promotion("x", "fixed", 100)], lines, "USD") == [
        ("X", Money(100, "USD"))
    ]


def test_best_single_one_wins(basket):
    promotions = [
        Promotion("a", "fixed", 100),
        Promotion("b", "fixed", 300),
        Promotion("c", "fixed", 200),
    ]
    assert best_combination(promotions, basket) == [("B", Money(300))]


def test_first_of_equal_singles(basket):
    promotions = [Promotion("a", "fixed", 100), Promotion("b", "fixed", 100)]
    assert best_combination(promotions, basket) == [("A", Money(100))]


def test_stack_against_single(basket):
    stack = [
        Promotion("a", "fixed", 100, stackable=True),
        Promotion("b", "fixed", 200, stackable=True),
    ]
    both = [("A", Money(100)), ("B", Money(200))]
    assert best_combination(stack, basket) == both
    assert best_combination([*stack, Promotion("c", "fixed", 300)], basket) == both
    assert best_combination([*stack, Promotion("c", "fixed", 301)], basket) == [("C", Money(301))]
    assert best_combination([*stack, Promotion("c", "fixed", 299)], basket) == both


def test_stack_never_exceeds_the_subtotal(basket):
    stack = [
        Promotion("a", "fixed", 3500, stackable=True),
        Promotion("b", "fixed", 80, stackable=True),
        Promotion("c", "fixed", 10, stackable=True),
    ]
    assert best_combination(stack, basket) == [("A", Money(3500)), ("B", Money(50))]


def test_stack_that_leaves_a_cent(basket):
    stack = [
        Promotion("a", "fixed", 3549, stackable=True),
        Promotion("b", "fixed", 5, stackable=True),
    ]
    assert best_combination(stack, basket) == [("A", Money(3549)), ("B", Money(1))]


def test_promotions_that_do_not_apply_are_left_out(basket):
    promotions = [
        Promotion("a", "fixed", 100, 9999, stackable=True),
        Promotion("b", "fixed", 1, stackable=True),
        Promotion("c", "fixed", 900, 9999),
        Promotion("d", "fixed", 900, ends=5),
    ]
    assert best_combination(promotions, basket, now=5) == [("B", Money(1))]
    assert best_combination([], basket) == []


def test_redeem():
    spring, autumn = Promotion("spring", "fixed", 1, ends=10), Promotion("autumn", "fixed", 1)
    assert redeem(" Autumn ", [spring, autumn]) is autumn
    assert redeem("spring", [spring, autumn], ["AUTUMN"], 9) is spring


@pytest.mark.parametrize(
    ("code", "used", "now", "message"),
    [
        ("spring", [], 10, "coupon has expired"),
        ("spring", ["SPRING"], 0, "coupon was already used"),
        ("winter", [], 0, "unknown coupon"),
    ],
)
def test_redeem_refuses(code, used, now, message):
    with pytest.raises(InvalidValue) as caught:
        redeem(code, [Promotion("spring", "fixed", 1, ends=10)], used, now)
    assert caught.value.message == message
    assert caught.value.details == {"code": code.upper()}
