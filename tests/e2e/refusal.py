"""What a call is refused with."""

from collections.abc import Callable

import grpc

from labelcast.errors import InternalServiceError, LabelcastError
from labelcast.remote.transport import translate


def refusal(call: Callable[[], object]) -> LabelcastError:
    """What a call is refused with, checked to be fit for a person."""
    try:
        call()
    except LabelcastError as error:
        found = error
    except grpc.RpcError as error:
        found = translate(error, "the service")
    else:
        raise AssertionError("it was not refused")
    assert "\n" not in found.message
    assert "Traceback" not in found.message
    assert not isinstance(found, InternalServiceError), found
    return found
