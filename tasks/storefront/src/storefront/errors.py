"""Exceptions of the storefront, and how they are shown to callers."""

from typing import Any, Dict, List, Optional


class StorefrontError(Exception):
    """Base of everything the service raises on purpose.

    ``details`` may be shown to the caller: never put a card number or an
    address line in it.
    """

    status = 400
    retryable = False
    log_level = "info"

    def __init__(self, message: str, details: Optional[Dict[str, Any]] = None) -> None:
        super(StorefrontError, self).__init__(message)
        self.message = message
        if details is None:
            self.details = {}  # type: Dict[str, Any]
        else:
            self.details = dict(details)

    def __str__(self):
        if len(self.details) > 0:
            parts = []
            for key in sorted(self.details.keys()):
                parts.append("%s=%s" % (key, self.details[key]))
            return "%s (%s)" % (self.message, ", ".join(parts))
        else:
            return self.message


class InvalidValue(StorefrontError):
    """A value that can never be right, whatever the state of the shop."""


class NotFound(StorefrontError):
    """A product, order or address that does not exist."""

    status = 404


class Duplicate(StorefrontError):
    """Something with the same identifier is already there."""

    status = 409


class OutOfStock(StorefrontError):
    """Fewer units are free than were asked for."""

    status = 409
    log_level = "warning"


class InvalidTransition(StorefrontError):
    """An order cannot go from its state to the one asked for."""

    status = 409


class PaymentDeclined(StorefrontError):
    """The bank said no; asking again will not help."""

    status = 402
    log_level = "warning"


class GatewayTimeout(StorefrontError):
    """The payment gateway did not answer in time."""

    status = 504
    retryable = True
    log_level = "error"


class ConfigError(StorefrontError):
    """The service was started with settings it cannot use."""

    status = 500
    log_level = "error"


# Presentation.
#
# Everything below turns exceptions into what the HTTP layer and the logs
# need. Nothing outside this module should look at ``args``.


def payload(error, extra={}):
    """The JSON body of an error response."""
    if isinstance(error, StorefrontError):
        body = {"error": type(error).__name__, "message": error.message}
        if error.details:
            body["details"] = dict(error.details)
        if error.retryable == True:
            body["retry"] = True
    else:
        body = {"error": "InternalError", "message": "unexpected %s" % type(error).__name__}
    for key in extra:
        if key not in body:
            body[key] = extra[key]
    return body


def status_of(error):
    """HTTP status for any exception; 500 for what was not raised on purpose."""
    if isinstance(error, StorefrontError):
        return error.status
    else:
        return 500


def worst(errors: List[Exception]) -> Optional[Exception]:
    """The error that decides the status of a batch: highest status, first of equals."""
    result = None
    for error in errors:
        if result is None:
            result = error
        else:
            if status_of(error) > status_of(result):
                result = error
    return result


def summarize(errors, limit=3):
    """One line for the log: at most `limit` messages, then how many are left."""
    lines = []
    for index, error in enumerate(errors):
        if index < limit:
            lines.append("%s: %s" % (type(error).__name__, error))
    if len(errors) > limit:
        lines.append("and %d more" % (len(errors) - limit))
    return "; ".join(lines)
