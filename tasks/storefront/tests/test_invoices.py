import pytest

from storefront.errors import InvalidValue
from storefront.invoices import WIDTH, Invoice, InvoiceLine, aging, credit_note, render
from storefront.money import Money
from storefront.tax import TaxLine


def make(*lines, country="DE", **options):
    lines = lines or (
        InvoiceLine("Linen shirt", 2, Money(5000)),
        InvoiceLine("Book", 1, Money(1000), "reduced"),
    )
    return Invoice("R-1", country, list(lines), **options)


def test_line():
    line = InvoiceLine("Shirt", 3, Money(50))
    assert (line.amount(), line.tax_class) == (Money(150), "standard")
    assert InvoiceLine("Shirt", 1, Money(50)).quantity == 1
    with pytest.raises(InvalidValue, match=r"^quantity cannot be zero \(text=Shirt\)"):
        InvoiceLine("Shirt", 0, Money(50))


def test_invoice_needs_lines():
    with pytest.raises(InvalidValue, match=r"^an invoice needs a line \(invoice=R-1\)"):
        Invoice("R-1", "DE", [])


def test_totals():
    invoice = make()
    assert invoice.net() == Money(11000)
    assert invoice.tax_lines() == [
        TaxLine(1900, Money(10000), Money(1900)),
        TaxLine(700, Money(1000), Money(70)),
    ]
    assert invoice.gross() == Money(12970)
    assert invoice.is_credit() is False


def test_business_abroad_pays_no_tax():
    assert make(country="FR", business=True).gross() == Money(11000)
    assert make(country="FR").gross() == Money(13055)


def test_due_day():
    assert make().due_day() == 14
    assert make(issued=5, terms_days=30).due_day() == 35


def test_pay():
    invoice = make()
    assert invoice.pay(Money(12969)) == Money(1)
    assert invoice.pay(Money(1)) == Money(0)
    assert invoice.pay(Money(500)) == Money(0)
    for amount in (0, -1):
        with pytest.raises(InvalidValue, match="^amount must be positive"):
            invoice.pay(Money(amount))


def test_payments_are_not_shared():
    given = [Money(70)]
    invoice = make(paid=given)
    assert invoice.open_amount() == Money(12900)
    invoice.pay(Money(1))
    assert given == [Money(70)]
    assert make().paid == []


@pytest.mark.parametrize(
    ("today", "level"),
    [(0, 0), (14, 0), (15, 1), (27, 1), (28, 2), (41, 2), (42, 3), (400, 3)],
)
def test_reminder_level(today, level):
    assert make().reminder_level(today) == level


def test_no_reminder_once_paid():
    assert make(paid=[Money(12970)]).reminder_level(400) == 0
    assert make(paid=[Money(12969)]).reminder_level(400) == 3


def test_credit_note():
    note = credit_note(make(country="FR", business=True, issued=3), "C-1", 7)
    assert (note.number, note.country, note.issued, note.terms_days) == ("C-1", "FR", 7, 0)
    assert note.business is True
    assert [(line.text, line.quantity, line.unit, line.tax_class) for line in note.lines] == [
        ("Linen shirt", -2, Money(5000), "standard"),
        ("Book", -1, Money(1000), "reduced"),
    ]
    assert note.is_credit() is True
    assert note.open_amount() == Money(0)
    assert credit_note(make(), "C-2").issued == 0


def test_smallest_credit():
    assert make(InvoiceLine("x", -1, Money(1))).is_credit() is True
    assert make(InvoiceLine("x", 1, Money(0))).is_credit() is False


def test_render_invoice():
    assert render(make()).split("\n") == [
        "Invoice R-1",
        "-" * 60,
        "2 x Linen shirt" + " " * 38 + "€100.00",
        "1 x Book" + " " * 46 + "€10.00",
        "-" * 60,
        "Net" + " " * 50 + "€110.00",
        "VAT 19 %" + " " * 46 + "€19.00",
        "VAT 7 %" + " " * 48 + "€0.70",
        "Total" + " " * 48 + "€129.70",
        "Please pay within 14 days.",
    ]


def test_render_leaves_out_rates_without_tax():
    assert "VAT" not in render(make(country="FR", business=True))
    assert "VAT 19 %" in render(make(InvoiceLine("x", 1, Money(3))))


def test_render_paid_and_nearly_paid():
    assert render(make(paid=[Money(12970)])).split("\n")[-1] == "Paid, thank you."
    assert render(make(paid=[Money(12969)])).split("\n")[-1] == "Please pay within 14 days."


def test_render_credit_note():
    text = render(credit_note(make(), "C-1")).split("\n")
    assert text[0] == "Credit note C-1"
    assert text[-1].startswith("Total") and text[-1].endswith(" -€129.70")


@pytest.mark.parametrize(
    ("length", "left"),
    [
        (49, "1 x " + "n" * 49),
        (50, "1 x " + "n" * 50),
        (51, "1 x " + "n" * 49 + "~"),
        (90, "1 x " + "n" * 49 + "~"),
    ],
)
def test_render_cuts_long_texts(length, left):
    row = render(make(InvoiceLine("n" * length, 1, Money(100)))).split("\n")[2]
    assert row == left + " " * (60 - len(left) - 5) + "€1.00"
    assert len(row) == WIDTH == 60


@pytest.mark.parametrize(
    ("today", "bucket"),
    [
        (0, "current"),
        (14, "current"),
        (15, "30"),
        (44, "30"),
        (45, "60"),
        (74, "60"),
        (75, "older"),
    ],
)
def test_aging(today, bucket):
    buckets = aging([make(), make(paid=[Money(12900)])], today)
    assert list(buckets) == ["current", "30", "60", "older"]
    assert buckets.pop(bucket) == Money(13040)
    assert set(buckets.values()) == {Money(0)}
