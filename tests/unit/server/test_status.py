"""A refusal becomes a status of constant text, with standard details."""

import pytest
from google.rpc import error_details_pb2, status_pb2

from pinvault.model.errors import TEXTS, Reason, Refusal, Violation
from pinvault.server.status import CODES, DETAILS_KEY, abort
from tests.support.core import FakeContext


def told(refusal: Refusal) -> tuple[FakeContext, status_pb2.Status]:
    context = FakeContext()
    abort(context, refusal, call_id="the-call")  # type: ignore[arg-type]
    ((key, packed),) = context.trailers
    assert key == DETAILS_KEY
    return context, status_pb2.Status.FromString(packed)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_its_code_text_and_error_info(reason: Reason) -> None:
    context, status = told(Refusal(reason))
    assert context.code is CODES[reason]
    assert context.details == status.message == TEXTS[reason]
    assert status.code == CODES[reason].value[0]
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason.value, "pinvault")
    assert info.metadata == {"call_id": "the-call"}


def test_violations_and_the_field_become_a_bad_request() -> None:
    _, status = told(
        Refusal(
            Reason.REQUEST_INVALID,
            violations=(Violation("a.b", "rule"),),
            field="c",
            cause="secret",
        )
    )
    broken = error_details_pb2.BadRequest()
    assert status.details[1].Unpack(broken)
    assert [v.field for v in broken.field_violations] == ["a.b", "c"]
    assert b"secret" not in status.SerializeToString()


def test_a_wait_becomes_a_retry_info() -> None:
    _, status = told(Refusal(Reason.HSM_UNAVAILABLE, retry_after_s=0.5))
    retry = error_details_pb2.RetryInfo()
    assert status.details[1].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == 500
