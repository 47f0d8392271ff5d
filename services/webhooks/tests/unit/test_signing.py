"""Signatures are those of Standard Webhooks: its own library accepts them. Secrets open for their endpoint alone."""

from uuid import uuid4

import pytest
from cryptography.exceptions import InvalidTag
from standardwebhooks import Webhook, WebhookVerificationError

from common import clock
from webhooks import signing
from webhooks.signing import Seal

BODY = b'{"id": "1", "name": "\xc3\xa9t\xc3\xa9"}'


def now() -> int:
    return int(clock.now().timestamp())


def test_the_official_library_accepts_a_signature() -> None:
    key = signing.new_key()
    headers = signing.headers([key], "msg_1", now(), BODY)
    assert Webhook(signing.shown(key)).verify(BODY, headers) == {"id": "1", "name": "été"}


def test_a_secret_is_what_the_specification_asks_for() -> None:
    key = signing.new_key()
    assert len(key) == 32
    assert signing.shown(key).startswith("whsec_")
    assert signing.new_key() != key


@pytest.mark.parametrize(
    "change",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": "1"},
        {"webhook-signature": "v1,AAAA"},
        {"webhook-signature": ""},
    ],
)
def test_whatever_is_changed_breaks_the_signature(change: dict[str, str]) -> None:
    key = signing.new_key()
    headers = signing.headers([key], "msg_1", now(), BODY) | change
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.shown(key)).verify(BODY, headers)


def test_a_changed_body_breaks_the_signature() -> None:
    key = signing.new_key()
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.shown(key)).verify(BODY + b" ", signing.headers([key], "msg_1", now(), BODY))


def test_old_and_new_secret_both_verify_and_another_does_not() -> None:
    new, old = signing.new_key(), signing.new_key()
    headers = signing.headers([new, old], "msg_1", now(), BODY)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for key in (new, old):
        Webhook(signing.shown(key)).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.shown(signing.new_key())).verify(BODY, headers)


def test_a_sealed_key_opens_for_its_endpoint_under_its_setting() -> None:
    seal, endpoint, key = Seal("x" * 32), uuid4(), signing.new_key()
    sealed = seal.close(endpoint, key)
    assert key not in sealed
    assert sealed != seal.close(endpoint, key)
    assert seal.open(endpoint, sealed) == key
    with pytest.raises(InvalidTag):
        seal.open(uuid4(), sealed)
    with pytest.raises(InvalidTag):
        Seal("y" * 32).open(endpoint, sealed)
