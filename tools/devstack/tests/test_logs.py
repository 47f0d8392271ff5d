from pathlib import Path

import pytest

from devstack.logs import last_error


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"level":"info","event":"up"}\n{"level":"error","event":"refused","error":"no role"}\n', "refused: no role"),
        ('{"level":"error","event":"old"}\n{"level":"critical","event":"new"}\n{"level":"info","event":"x"}\n', "new"),
        (
            '{"level":"error","event":"failed","exception":[{"exc_type":"OSError","exc_value":"disk full"}]}\n',
            "failed: OSError: disk full",
        ),
        (
            "Traceback (most recent call last):\n  File x\nModuleNotFoundError: no auth\n",
            "ModuleNotFoundError: no auth",
        ),
        ("2026 FATAL:  data directory has wrong ownership\n2026 LOG:  shut down\n", "2026 FATAL:  data directory"),
        ('{"level":"info","event":"request","ms":3}\n', 'its log tells no error, the last entry is "request"'),
        ("one\ntwo\n\n", "two"),
        ("", "no output"),
    ],
)
def test_the_reason_of_a_death_is_the_last_error_in_its_log(tmp_path: Path, text: str, reason: str) -> None:
    log = tmp_path / "x.log"
    log.write_text(text)
    assert last_error(log).startswith(reason)


def test_a_missing_log_has_no_reason(tmp_path: Path) -> None:
    assert last_error(tmp_path / "x.log") == "no output"
