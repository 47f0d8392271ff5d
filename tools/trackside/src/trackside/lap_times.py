"""Milliseconds as the timing screens write them."""


def lap_text(millis: int) -> str:
    """`1:32.608`, and `58.123` below a minute."""
    minutes, rest = divmod(millis, 60_000)
    seconds = f"{rest // 1000:02d}.{rest % 1000:03d}" if minutes else f"{rest // 1000}.{rest % 1000:03d}"
    return f"{minutes}:{seconds}" if minutes else seconds


def race_text(millis: int) -> str:
    """A race winner's time: `1:31:44.742`, and `32:04.660` below an hour."""
    hours, rest = divmod(millis, 3_600_000)
    if not hours:
        return lap_text(rest)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def gap_text(millis: int) -> str:
    """A gap to the winner: `+22.457`, `+1:03.588`."""
    return "+" + lap_text(millis)


def lap_millis(text: str) -> int:
    """The milliseconds of `1:32.608`, `58.123` or `40:56.330`."""
    minutes, _, seconds = text.rpartition(":")
    whole, _, fraction = seconds.partition(".")
    return int(minutes or 0) * 60_000 + int(whole) * 1000 + int(fraction.ljust(3, "0")[:3])
