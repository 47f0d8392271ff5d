"""A personal access token has a form that a program can check and nobody can guess."""

import zlib
from collections.abc import Callable

import pytest

from common.tokens import checksum, is_token, new_token

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRST"
"""Thirty of them, which nobody has drawn."""


def test_a_new_token_has_the_form_of_one() -> None:
    token = new_token()
    assert is_token(token)
    assert len(token) == 40
    assert token.isascii()


def test_a_thousand_tokens_are_a_thousand_and_use_every_digit() -> None:
    tokens = {new_token() for _ in range(1000)}
    assert len(tokens) == 1000
    assert len(set("".join(token[4:34] for token in tokens))) == 62


def test_the_checksum_is_a_crc32_in_base62_filled_up_with_zeros() -> None:
    assert zlib.crc32(DIGITS.encode()) == 4_039_328_943
    assert checksum(DIGITS) == "4PMbyp"
    assert checksum("") == "000000"
    assert is_token(f"pdk_{DIGITS}4PMbyp")


@pytest.mark.parametrize("position", range(4, 40))
def test_one_wrong_character_anywhere_is_noticed(position: int) -> None:
    token = new_token()
    wrong = "A" if token[position] != "A" else "B"
    assert not is_token(token[:position] + wrong + token[position + 1 :])


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:0],
        lambda token: token[:-1],
        lambda token: token + "0",
        lambda token: token + "\n",
        lambda token: " " + token,
        lambda token: "ghp_" + token[4:],
        lambda token: "PDK_" + token[4:],
        lambda token: token[:10] + "-" + token[11:],
        lambda token: token[:10] + "é" + token[11:],
        lambda token: token[:10] + "٣" + token[11:],
    ],
)
def test_another_form_is_no_token(change: Callable[[str], str]) -> None:
    assert not is_token(change(new_token()))
