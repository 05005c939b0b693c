import pytest

from storefront.errors import GatewayTimeout, InvalidValue, PaymentDeclined
from storefront.money import Money
from storefront.payments import Payment, Processor, luhn_valid, mask

CARD = "4111 1111 1111 1111"


class Gateway:
    def __init__(self, *answers):
        self.answers = list(answers)
        self.calls = []

    def __call__(self, action, reference, amount):
        self.calls.append((action, reference, amount))
        answer = self.answers.pop(0) if self.answers else "ok"
        if answer == "timeout":
            raise GatewayTimeout("no answer")
        return answer


@pytest.fixture
def gateway():
    return Gateway()


@pytest.fixture
def processor(gateway):
    return Processor(gateway)


@pytest.fixture
def payment(processor):
    return processor.authorise("p1", Money(1000), CARD)


@pytest.mark.parametrize(
    ("number", "valid"),
    [
        (CARD, True),
        ("4111111111111112", False),
        ("79927398713", False),
        ("5500 0000 0000 0004", True),
        ("378282246310005", True),
        ("378282246310050", False),
        ("000000000000", True),
        ("00000000000", False),
        ("4111-1111-1111-1111", False),
        ("", False),
        ("000000000059", True),
        ("000000000042", True),
        ("000000000091", True),
        ("000000000034", True),
    ],
)
def test_luhn(number, valid):
    assert luhn_valid(number) is valid


def test_mask():
    assert mask(CARD) == "************1111"
    assert mask("12345") == "*2345"
    assert mask("1234") == "1234"


def test_authorise(processor, gateway):
    payment = processor.authorise("p1", Money(1, "USD"), CARD)
    assert (payment.reference, payment.authorised) == ("p1", Money(1, "USD"))
    assert (payment.captured, payment.refunded) == (Money(0, "USD"), Money(0, "USD"))
    assert payment.voided is False
    assert gateway.calls == [("authorise", "p1", Money(1, "USD"))]
    assert processor.log == ["authorise p1: ok"]


def test_authorise_checks_first(processor, gateway):
    with pytest.raises(InvalidValue, match=r"^card number is not valid \(card=\*{12}1112\)"):
        processor.authorise("p1", Money(1), "4111111111111112")
    for amount in (0, -1):
        with pytest.raises(InvalidValue, match="^amount must be positive"):
            processor.authorise("p1", Money(amount), CARD)
    assert gateway.calls == []


def test_declined():
    processor = Processor(Gateway("no funds"))
    with pytest.raises(PaymentDeclined, match=r"^authorise was declined \(reason=no funds\)$"):
        processor.authorise("p1", Money(1), CARD)
    assert processor.log == ["authorise p1: no funds"]


def test_timeouts_are_retried():
    gateway = Gateway("timeout", "timeout", "ok")
    processor = Processor(gateway)
    processor.authorise("p1", Money(1), CARD)
    assert len(gateway.calls) == 3
    assert processor.log == [
        "authorise p1: timeout 1",
        "authorise p1: timeout 2",
        "authorise p1: ok",
    ]


def test_retries_end():
    gateway = Gateway("timeout", "timeout", "timeout", "timeout")
    with pytest.raises(GatewayTimeout):
        Processor(gateway).authorise("p1", Money(1), CARD)
    assert len(gateway.calls) == 3
    gateway = Gateway("timeout")
    processor = Processor(gateway, 0, ["start"])
    with pytest.raises(GatewayTimeout):
        processor.authorise("p1", Money(1), CARD)
    assert processor.log == ["start", "authorise p1: timeout 1"]


def test_logs_are_not_shared(gateway):
    one, two = Processor(gateway), Processor(gateway)
    one.log.append("x")
    assert two.log == []
    given = ["x"]
    Processor(gateway, log=given).log.append("y")
    assert given == ["x"]


def test_capture_everything(processor, payment, gateway):
    assert payment.capturable == Money(1000)
    assert processor.capture(payment) == Money(1000)
    assert (payment.captured, payment.capturable, payment.refundable) == (
        Money(1000),
        Money(0),
        Money(1000),
    )
    assert gateway.calls[-1] == ("capture", "p1", Money(1000))
    with pytest.raises(InvalidValue, match=r"^nothing to capture \(payment=p1\)"):
        processor.capture(payment)


def test_capture_in_parts(processor, payment):
    assert processor.capture(payment, Money(1)) == Money(1)
    assert processor.capture(payment, Money(300)) == Money(301)
    with pytest.raises(InvalidValue, match=r"^more than was authorised \(payment=p1\)"):
        processor.capture(payment, Money(700))
    assert processor.capture(payment, Money(699)) == Money(1000)


@pytest.mark.parametrize("amount", [0, -5])
def test_capture_needs_an_amount(processor, payment, amount):
    with pytest.raises(InvalidValue, match="^nothing to capture"):
        processor.capture(payment, Money(amount))


def test_refund(processor, payment, gateway):
    processor.capture(payment, Money(500))
    assert processor.refund(payment, Money(1)) == Money(1)
    assert processor.refund(payment, Money(499)) == Money(500)
    assert payment.refundable == Money(0)
    assert gateway.calls[-1] == ("refund", "p1", Money(499))


@pytest.mark.parametrize(
    ("amount", "message"),
    [(0, "nothing to refund"), (-1, "nothing to refund"), (501, "more than was captured")],
)
def test_refund_refuses(processor, payment, amount, message):
    processor.capture(payment, Money(500))
    with pytest.raises(InvalidValue, match=message + r" \(payment=p1\)"):
        processor.refund(payment, Money(amount))
    assert payment.refunded == Money(0)


def test_void(processor, payment, gateway):
    processor.void(payment)
    processor.void(payment)
    assert gateway.calls[1:] == [("void", "p1", Money(1000))]
    assert payment.voided is True
    assert payment.capturable == Money(0)
    with pytest.raises(InvalidValue, match="^nothing to capture"):
        processor.capture(payment)


@pytest.mark.parametrize("captured", [1, 1000])
def test_void_after_capture(processor, payment, captured):
    processor.capture(payment, Money(captured))
    with pytest.raises(InvalidValue, match=r"^payment was captured \(payment=p1\)"):
        processor.void(payment)


@pytest.mark.parametrize(
    ("captured", "refunded", "expected"),
    [
        (0, 0, "authorised"),
        (1, 0, "partly captured"),
        (1000, 0, "captured"),
        (1000, 1, "partly refunded"),
        (500, 499, "partly refunded"),
        (500, 500, "refunded"),
        (1000, 1000, "refunded"),
    ],
)
def test_status(captured, refunded, expected):
    payment = Payment("p1", Money(1000))
    payment.captured, payment.refunded = Money(captured), Money(refunded)
    assert payment.status() == expected


def test_status_of_a_voided_payment(processor, payment):
    processor.void(payment)
    assert payment.status() == "voided"
