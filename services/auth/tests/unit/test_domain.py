from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth import common_passwords
from auth.common_passwords import is_common
from auth.domain import Family, RefreshToken, Verdict, is_email, judge, password_faults, registration_faults
from auth.schemas import Registration

SECRET = b"a secret of these tests alone, long enough"
NOW = datetime(2026, 3, 8, 4, 0, tzinfo=UTC)
GRACE, IDLE = timedelta(seconds=10), timedelta(days=14)


@pytest.mark.parametrize(
    "address",
    ["a@b.co", "first.last+tag@sub.example.com", "o'brien@example.ie", "UPPER@EXAMPLE.COM", f"{'a' * 64}@example.com"],
)
def test_an_address_that_mail_reaches_is_accepted(address: str) -> None:
    assert is_email(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "@",
        "nobody",
        "nobody@",
        "@example.com",
        "a@b",
        "a@b.c",
        "a@@b.co",
        "a b@example.com",
        "a@exa mple.com",
        ".a@example.com",
        "a.@example.com",
        "a..b@example.com",
        "a@example..com",
        "a@-example.com",
        "a@example-.com",
        "a@example.com.",
        "a@example.com\n",
        "a\x00@example.com",
        "a@[127.0.0.1]",
        "a@127.0.0.1",
        "ä@example.com",
        "a@exämple.com",
        '"a b"@example.com',
        "a@example.com,b@example.com",
        "a@example.com\r\nBcc: b@example.com",
        f"{'a' * 65}@example.com",
        f"a@{'b' * 64}.com",
    ],
)
def test_an_address_that_mail_cannot_reach_is_refused(address: str) -> None:
    assert not is_email(address)


@given(st.text(max_size=300))
def test_no_text_makes_the_address_rule_stumble(text: str) -> None:
    assert isinstance(is_email(text), bool)


@pytest.mark.parametrize(
    ("password", "fault"),
    [
        ("slipstream44", "needs an upper case letter"),
        ("SLIPSTREAM44", "needs a lower case letter"),
        ("Slipstreamed", "needs a digit"),
        ("MAX_verstappen1", "must not be the username or the e-mail address"),
        ("Max.V1@example.com", "must not be the username or the e-mail address"),
        ("MAX.v1isFast", "must not contain the username or the e-mail address"),
        ("1_max_VERSTAPPEN1_1", "must not contain the username or the e-mail address"),
        ("My max.v1@EXAMPLE.com", "must not contain the username or the e-mail address"),
        ("Password1", "is one of the passwords that everybody tries first"),
        ("PASSw0rd", "is one of the passwords that everybody tries first"),
        ("QWERTYuiop123", "is one of the passwords that everybody tries first"),
    ],
)
def test_each_weakness_of_a_password_is_named(password: str, fault: str) -> None:
    assert password_faults(password, username="max_Verstappen1", email="max.v1@Example.com") == [fault]


@pytest.mark.parametrize("password", ["Slipstream44", "Größe 4 Läufe", "Пароль٤٤", "🏎 Fast Lap 1", "nul\x00Byte1"])
def test_a_password_of_any_script_is_accepted_as_it_is(password: str) -> None:
    assert password_faults(password, username="somebody", email="somebody@example.com") == []


def test_without_the_rule_of_composition_only_what_is_guessed_first_is_refused() -> None:
    faults = {
        password: password_faults(password, username="max_v", email="max@example.com", composition=False)
        for password in ("correct horse battery staple", "11111111", "password", "i am max_v indeed")
    }
    assert [len(found) for found in faults.values()] == [0, 1, 1, 1]


def test_a_short_first_part_of_an_address_is_part_of_too_many_words() -> None:
    assert password_faults("Slipstream44", username="somebody", email="tre@example.com") == []
    assert password_faults("Slipstream44", username="somebody", email="stream@example.com") != []


@pytest.mark.parametrize("folded", ["password", "PASSWORD", "PassWord", "123456789", "qwertyuiop"])
def test_a_common_password_is_known_in_any_case(folded: str) -> None:
    assert is_common(folded)


def test_the_list_holds_what_is_tried_first_of_eight_characters_and_more() -> None:
    assert len([known for known in common_passwords.known() if len(known) >= 8]) > 3000


def test_every_fault_of_a_registration_is_told_at_once() -> None:
    faults = registration_faults("somebody", "nowhere", "secretsecret", "a\x07b")
    assert sorted({fault.field for fault in faults}) == ["email", "full_name", "password"]
    assert len(faults) == 4


@pytest.mark.parametrize("username", ["abc", "A_1", "x" * 50])
def test_a_username_of_letters_digits_and_underscores_is_accepted(username: str) -> None:
    body = {"username": username, "email": "a@example.com", "password": "Slipstream44"}
    assert msgspec.convert(body, Registration).username == username


@pytest.mark.parametrize(
    "username", ["", "ab", "x" * 51, "a b", "abc\n", "\nabc", "a-b", "äbc", "abc\x00", "юbc", "a@b"]
)
def test_a_username_of_anything_else_is_refused(username: str) -> None:
    body = {"username": username, "email": "a@example.com", "password": "Slipstream44"}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body, Registration)


@given(st.uuids(), st.integers(0, 2**32 - 1))
def test_a_refresh_token_says_what_it_was_made_of(session_id: UUID, generation: int) -> None:
    token = RefreshToken(session_id=session_id, generation=generation)
    assert RefreshToken.read(token.seal(SECRET), SECRET) == token


def test_a_refresh_token_changed_anywhere_is_nobodys() -> None:
    token = RefreshToken(session_id=uuid4(), generation=3).seal(SECRET)
    for place in range(len(token)):
        other = "A" if token[place] != "A" else "B"
        assert RefreshToken.read(token[:place] + other + token[place + 1 :], SECRET) is None, place


def test_a_refresh_token_of_another_secret_is_nobodys() -> None:
    token = RefreshToken(session_id=uuid4(), generation=0).seal(b"another secret")
    assert RefreshToken.read(token, SECRET) is None


@given(st.text(max_size=80) | st.text(alphabet="ABab01-_=+/ é\n", min_size=64, max_size=64).map("pdr_".__add__))
def test_no_text_makes_the_token_reader_stumble(text: str) -> None:
    assert RefreshToken.read(text, SECRET) is None


def family(
    generation: int = 5,
    *,
    rotated: timedelta = timedelta(),
    left: timedelta = timedelta(days=30),
    revoked: bool = False,
) -> Family:
    """A family rotated so long ago that has so much of its life left."""
    return Family(generation=generation, rotated_at=NOW - rotated, expires_at=NOW + left, revoked=revoked)


A_MOMENT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("presented", "state", "verdict"),
    [
        (5, family(), Verdict.ROTATE),
        (5, family(rotated=timedelta(days=13)), Verdict.ROTATE),
        (5, family(rotated=IDLE - A_MOMENT), Verdict.ROTATE),
        (5, family(rotated=IDLE), Verdict.OVER),
        (5, family(left=A_MOMENT), Verdict.ROTATE),
        (5, family(left=timedelta()), Verdict.OVER),
        (5, family(revoked=True), Verdict.OVER),
        (4, family(), Verdict.REPEAT),
        (4, family(rotated=-timedelta(seconds=1)), Verdict.REPEAT),  # the other process's clock is ahead
        (4, family(rotated=GRACE - A_MOMENT), Verdict.REPEAT),
        (4, family(rotated=GRACE), Verdict.REUSED),
        (4, family(revoked=True), Verdict.OVER),
        (4, family(rotated=IDLE), Verdict.OVER),
        (3, family(), Verdict.REUSED),
        (0, family(), Verdict.REUSED),
        (6, family(), Verdict.OVER),
    ],
)
def test_a_refresh_token_is_judged_by_its_place_in_the_family(presented: int, state: Family, verdict: Verdict) -> None:
    assert judge(presented, state, NOW, grace=GRACE, idle=IDLE) is verdict


def test_without_a_grace_the_previous_token_is_always_a_reuse() -> None:
    assert judge(4, family(), NOW, grace=timedelta(), idle=IDLE) is Verdict.REUSED
