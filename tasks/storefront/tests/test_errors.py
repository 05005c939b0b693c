import pytest

from storefront import errors
from storefront.errors import (
    ConfigError,
    GatewayTimeout,
    InvalidValue,
    NotFound,
    OutOfStock,
    StorefrontError,
    payload,
    status_of,
    summarize,
    worst,
)


def test_message_without_details():
    assert str(InvalidValue("bad size")) == "bad size"


def test_message_lists_details_in_key_order():
    error = OutOfStock("not enough stock", {"wanted": 3, "free": 1})
    assert str(error) == "not enough stock (free=1, wanted=3)"


def test_message_with_a_single_detail():
    assert str(NotFound("no such order", {"order": "SO-1"})) == "no such order (order=SO-1)"


def test_details_are_copied():
    details = {"sku": "A"}
    error = NotFound("no such product", details)
    details["sku"] = "B"
    assert error.details == {"sku": "A"}
    assert NotFound("x").details == {}


@pytest.mark.parametrize(
    ("name", "status", "retryable", "level"),
    [
        ("StorefrontError", 400, False, "info"),
        ("InvalidValue", 400, False, "info"),
        ("NotFound", 404, False, "info"),
        ("Duplicate", 409, False, "info"),
        ("OutOfStock", 409, False, "warning"),
        ("InvalidTransition", 409, False, "info"),
        ("PaymentDeclined", 402, False, "warning"),
        ("GatewayTimeout", 504, True, "error"),
        ("ConfigError", 500, False, "error"),
    ],
)
def test_what_each_class_means_to_a_caller(name, status, retryable, level):
    error = getattr(errors, name)("message")
    assert (error.status, error.retryable, error.log_level) == (status, retryable, level)
    assert isinstance(error, StorefrontError)


def test_payload_of_an_expected_error():
    assert payload(InvalidValue("bad size")) == {"error": "InvalidValue", "message": "bad size"}


def test_payload_shows_details_and_retry():
    body = payload(GatewayTimeout("no answer", {"after_s": 30}))
    assert body == {
        "error": "GatewayTimeout",
        "message": "no answer",
        "details": {"after_s": 30},
        "retry": True,
    }
    assert body["retry"] is True


def test_payload_details_are_a_copy():
    error = NotFound("x", {"sku": "A"})
    payload(error)["details"]["sku"] = "B"
    assert error.details == {"sku": "A"}


def test_payload_hides_what_was_not_raised_on_purpose():
    body = payload(KeyError("secret"))
    assert body == {"error": "InternalError", "message": "unexpected KeyError"}


def test_payload_extra_never_replaces():
    body = payload(NotFound("gone"), {"message": "other", "request": 7})
    assert body == {"error": "NotFound", "message": "gone", "request": 7}
    assert "request" not in payload(NotFound("gone"))


def test_status_of():
    assert status_of(NotFound("x")) == 404
    assert status_of(KeyError("x")) == 500


def test_worst_prefers_the_highest_status():
    low, high = InvalidValue("a"), GatewayTimeout("b")
    assert worst([low, high]) is high
    assert worst([high, low]) is high


def test_worst_takes_the_first_of_equals():
    first, second = ConfigError("a"), KeyError("b")
    assert worst([first, second]) is first
    assert worst([second, first]) is second


def test_worst_of_nothing():
    assert worst([]) is None


def test_summarize_short_list():
    assert summarize([]) == ""
    assert summarize([InvalidValue("a"), KeyError("k")]) == "InvalidValue: a; KeyError: 'k'"


def test_summarize_exactly_at_the_limit():
    assert (
        summarize([InvalidValue("a"), InvalidValue("b")], 2) == "InvalidValue: a; InvalidValue: b"
    )


def test_summarize_counts_the_rest():
    errors_ = [InvalidValue(str(number)) for number in range(5)]
    assert summarize(errors_) == "InvalidValue: 0; InvalidValue: 1; InvalidValue: 2; and 2 more"
    assert summarize(errors_, 0) == "and 5 more"
