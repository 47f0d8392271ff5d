"""S17: what people send as a picture to do harm is made anew, clean, or refused; in bounded time and memory.

Every file is made here, and read by a process that does nothing else, so that what it costs can be measured.
"""

import asyncio
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

PAYLOAD = b"<script>alert('pit lane')</script>"
"""What must never come out again."""
KIBIBYTES = 1024
SECONDS = 2.0
GROWTH = 150 * 1024 * KIBIBYTES
RESULT_BYTES = 2 * 1024 * KIBIBYTES
PNG = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def small(kind: str = "PNG", **options: Any) -> bytes:
    return encoded(Image.effect_noise((200, 160), 60).convert("RGB"), kind, **options)


def flat(mode: str, size: tuple[int, int], kind: str, **options: Any) -> bytes:
    return encoded(Image.new(mode, size), kind, **options)


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    return PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def end(pixels: bytes = b"") -> bytes:
    return chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b"")


@cache
def zeros() -> bytes:
    """Two hundred megabytes, as few bytes."""
    return zlib.compress(bytes(200_000_000), 9)


def png_with(*chunks: bytes) -> bytes:
    """A whole PNG with chunks before its pixels."""
    whole = small()
    return whole[:33] + b"".join(chunks) + whole[33:]


def segment(marker: int, content: bytes) -> bytes:
    """A segment of JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def jpeg_with(*segments: bytes) -> bytes:
    whole = small("JPEG")
    return whole[:2] + b"".join(segments) + whole[2:]


def archive(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        made.writestr("payload.html", content)
    return file.getvalue()


def webp_with(name: bytes, content: bytes) -> bytes:
    """A WebP with a chunk at its end that is about nothing."""
    body = small("WEBP", exif=b"Exif\0\0")[8:] + name + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(body)) + body


def ten_thousand_webp() -> bytes:
    """An animation whose last frame comes ten thousand times."""
    frames = [Image.effect_noise((16, 16), 60 + turn).convert("RGB") for turn in range(2)]
    whole = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], duration=20)
    last = whole.rindex(b"ANMF")
    body = whole[8:last] + whole[last:] * 10_000
    return b"RIFF" + struct.pack("<I", len(body)) + body


def ten_thousand_png() -> bytes:
    image = small()
    first = image.index(b"IDAT") - 4
    pixels = zlib.compress(bytes(2))
    parts = [image[:first], chunk(b"acTL", struct.pack(">II", 10_000, 0))]
    parts += [chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 200, 160, 0, 0, 1, 50, 0, 0)), image[first:-12]]
    for turn in range(10_000):
        parts.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", 2 * turn + 1, 1, 1, 0, 0, 1, 50, 0, 0)))
        parts.append(chunk(b"fdAT", struct.pack(">I", 2 * turn + 2) + pixels))
    return b"".join([*parts, image[-12:]])


def ten_thousand_gif() -> bytes:
    frames = [Image.new("P", (1, 1), colour) for colour in (0, 1)]
    whole = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=20)
    last = whole.rindex(b"\x21\xf9")
    return whole[:last] + whole[last:-1] * 10_000 + b";"


def many_scans() -> bytes:
    """A progressive JPEG of 9 megapixels whose last scan comes again and again, in fifty bytes each."""
    whole = flat("RGB", (3000, 3000), "JPEG", progressive=True, subsampling=0)
    last = whole.rindex(b"\xff\xc4")
    return whole[:-2] + whole[last:-2] * 5_000 + whole[-2:]


def gps() -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    place = exif.get_ifd(0x8825)
    place[1], place[2], place[3], place[4] = "N", (43.0, 44.0, 4.6), "E", (7.0, 25.0, 16.7)
    place[29] = PAYLOAD.decode()
    return small("JPEG", exif=exif.tobytes(), comment=PAYLOAD)


def wide_canvas() -> bytes:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    whole = bytearray(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    at = whole.index(b"VP8X") + 12
    whole[at : at + 6] = (16_382).to_bytes(3, "little") * 2
    return bytes(whole)


def two_pictures() -> bytes:
    """What telephones make: a JPEG that holds another."""
    pictures = [Image.effect_noise((200, 160), 60).convert("RGB") for _ in range(2)]
    return encoded(pictures[0], "MPO", save_all=True, append_images=pictures[1:])


MADE, UNSUPPORTED, UNREADABLE = "made", "unsupported", "image_unreadable"
LARGE, COMPLEX = "image_too_large", "image_too_complex"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'>" + PAYLOAD + b"</svg>"
ICC = b"ICC_PROFILE\0"

FILES: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "a GIF that is JavaScript": (lambda: b"GIF89a/*" + bytes(20) + b"*/=1;" + PAYLOAD, {UNSUPPORTED}),
    "a JPEG that is JavaScript": (lambda: jpeg_with(segment(0xFE, b"*/=1;" + PAYLOAD + b"/*")), {MADE}),
    "a JPEG that is HTML": (lambda: jpeg_with(segment(0xE1, b"<html>" + PAYLOAD)) + PAYLOAD, {MADE}),
    "a JPEG that is an archive": (lambda: small("JPEG") + archive(PAYLOAD), {MADE}),
    "a PNG that is an archive": (lambda: small() + archive(PAYLOAD), {MADE}),
    "a PNG that is HTML": (lambda: png_with(chunk(b"tEXt", b"Comment\0" + PAYLOAD)), {MADE}),
    "a PNG with a chunk of its own": (lambda: png_with(chunk(b"puNk", PAYLOAD)), {MADE}),
    "a WebP with a chunk of its own": (lambda: webp_with(b"PUNK", PAYLOAD), {MADE}),
    "a JPEG inside a PDF": (lambda: b"%PDF-1.7\nstream\n" + small("JPEG") + b"\nendstream", {UNSUPPORTED}),
    "a PDF inside a JPEG": (lambda: jpeg_with(segment(0xFE, b"%PDF-1.7\n" + PAYLOAD)), {MADE}),
    "an SVG": (lambda: SVG, {UNSUPPORTED}),
    "an SVG after a mark and blanks": (lambda: b"\xef\xbb\xbf \n" + SVG, {UNSUPPORTED}),
    "a page": (lambda: b"<!doctype html>" + PAYLOAD, {UNSUPPORTED}),
    "a page after the signature of PNG": (lambda: PNG + PAYLOAD, {UNREADABLE}),
    "nothing": (lambda: b"", {UNSUPPORTED}),
    "an archive of zeros": (lambda: archive(archive(bytes(200_000_000))), {UNSUPPORTED}),
    "a TIFF": (lambda: small("TIFF"), {UNSUPPORTED}),
    "a BMP": (lambda: small("BMP"), {UNSUPPORTED}),
    "an icon": (lambda: small("ICO"), {UNSUPPORTED}),
    "a JPEG 2000": (lambda: small("JPEG2000"), {UNSUPPORTED}),
    "an AVIF": (lambda: b"\0\0\0\x20ftypavif" + bytes(100), {UNSUPPORTED}),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file", {UNSUPPORTED}),
    "a header of 50,000 by 50,000": (lambda: header(50_000, 50_000) + end(), {LARGE}),
    "a header of the most there can be": (lambda: header(2**31 - 1, 2**31 - 1) + end(), {LARGE, UNREADABLE}),
    "a JPEG's header of 65,500 by 65,500": (
        lambda: small("JPEG").replace(struct.pack(">HH", 160, 200), struct.pack(">HH", 65_500, 65_500), 1),
        {LARGE},
    ),
    "a hundred megapixels in a few bytes": (lambda: flat("1", (10_000, 10_000), "PNG"), {LARGE}),
    "a line of ten million": (lambda: header(1, 10_000_000, 1, 0) + end(bytes(20_000_000)), {LARGE}),
    "a WebP's canvas of the most there can be": (wide_canvas, {LARGE}),
    "pixels missing": (lambda: header(4_000, 4_000) + end(), {UNREADABLE}),
    "far more pixels than announced": (lambda: header(8, 8) + end(bytes(300_000_000)), {MADE, UNREADABLE}),
    "ten thousand pictures as GIF": (ten_thousand_gif, {UNSUPPORTED}),
    "ten thousand pictures as WebP": (ten_thousand_webp, {MADE}),
    "ten thousand pictures as PNG": (ten_thousand_png, {MADE}),
    "two pictures in a JPEG": (two_pictures, {MADE}),
    "a JPEG cut off": (lambda: small("JPEG")[:-2000], {UNREADABLE}),
    "a PNG cut off": (lambda: small()[:-2000], {UNREADABLE}),
    "a WebP cut off": (lambda: small("WEBP")[:-2000], {UNREADABLE}),
    "a JPEG in CMYK": (lambda: flat("CMYK", (300, 200), "JPEG"), {MADE}),
    "a place in EXIF": (gps, {MADE}),
    "EXIF that is none": (lambda: jpeg_with(segment(0xE1, b"Exif\0\0MM\0*" + b"\xff" * 200)), {MADE}),
    "eight megabytes of colour profile": (
        lambda: jpeg_with(*(segment(0xE2, ICC + bytes((turn + 1, 130)) + bytes(65_000)) for turn in range(130))),
        {MADE},
    ),
    "a colour profile that unpacks to 200 MB": (
        lambda: png_with(chunk(b"iCCP", b"x\0\0" + zeros())),
        {MADE, UNREADABLE},
    ),
    "zTXt that unpacks to 200 MB": (
        lambda: png_with(chunk(b"zTXt", b"x\0\0" + zeros())),
        {MADE, UNREADABLE},
    ),
    "iTXt that unpacks to 200 MB": (
        lambda: png_with(chunk(b"iTXt", b"x\0\1\0\0\0" + zeros())),
        {MADE, UNREADABLE},
    ),
    "a hundred texts of almost a megabyte": (
        lambda: png_with(*(chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(1_000_000), 9)) for _ in range(100))),
        {UNREADABLE},
    ),
    "a progressive JPEG of five thousand scans": (many_scans, {COMPLEX}),
    "two million comments": (lambda: jpeg_with(segment(0xFE, b"") * 2_000_000), {COMPLEX}),
    "eight hundred thousand chunks": (lambda: png_with(chunk(b"puNk", b"") * 800_000), {COMPLEX}),
    "sixteen megapixels of PNG": (lambda: flat("RGBA", (4000, 4000), "PNG", compress_level=1), {MADE}),
    "sixteen megapixels of palette": (lambda: flat("P", (4000, 4000), "PNG", transparency=0), {MADE}),
    "sixteen megapixels of progressive CMYK": (
        lambda: flat("CMYK", (4000, 4000), "JPEG", progressive=True, subsampling=0),
        {MADE},
    ),
    "eight megapixels of WebP": (lambda: flat("RGB", (2828, 2828), "WEBP", lossless=True), {MADE}),
    "the longest side there may be": (lambda: flat("RGB", (976, 16_383), "PNG", compress_level=1), {MADE}),
}

READER = """
import ctypes, json, sys, time
from pathlib import Path
from auth.images import Pictures, UnsupportedImageError, made_anew
from auth.settings import AuthSettings
from common.errors import InvalidError

def kibibytes(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])

Pictures(AuthSettings())
for path in sys.argv[1:]:
    data = Path(path).read_bytes()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before, began, outcome = kibibytes("VmRSS"), time.process_time(), "made"
    try:
        Path(f"{path}.webp").write_bytes(made_anew(data, AuthSettings().avatar_megapixels * 1_000_000))
    except UnsupportedImageError:
        outcome = "unsupported"
    except InvalidError as error:
        outcome = error.code
    seconds = time.process_time() - began
    growth = (kibibytes("VmHWM") - before) * 1024
    print(json.dumps({"outcome": outcome, "seconds": seconds, "growth": growth}), flush=True)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All of them, on disk."""
    folder = tmp_path_factory.mktemp("hostile")
    made = {}
    for index, (name, (build, _)) in enumerate(FILES.items()):
        made[name] = folder / str(index)
        made[name].write_bytes(build())
    return made


def chunks(webp: bytes) -> list[bytes]:
    names, place = [], 12
    assert webp[:4] == b"RIFF"
    assert int.from_bytes(webp[4:8], "little") == len(webp) - 8
    while place < len(webp):
        names.append(webp[place : place + 4])
        length = int.from_bytes(webp[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    return names


def assert_clean(webp: bytes) -> None:
    """It holds pixels, and nothing that somebody sent."""
    assert chunks(webp) in ([b"VP8 "], [b"VP8L"], [b"VP8X", b"ALPH", b"VP8 "])
    assert len(webp) <= RESULT_BYTES
    for word in (PAYLOAD, b"Exif", b"ICCP", b"camera", b"%PDF", b"PK\x03\x04", b"GIF8"):
        assert word not in webp
    with Image.open(io.BytesIO(webp), formats=["WEBP"]) as image:
        assert image.size == (512, 512)
        assert set(image.info) <= {"loop", "background", "duration", "timestamp"}
        image.load()


def test_there_are_files_enough_and_none_is_longer_than_may_be_sent(files: dict[str, Path]) -> None:
    assert len(FILES) >= 30
    assert {name for name, path in files.items() if path.stat().st_size > 10 * 1024 * KIBIBYTES} == set()


@pytest.fixture(scope="module")
def costs(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What became of each in a process apart, at what cost; the first is a picture like any other."""
    warm = tmp_path_factory.mktemp("warm") / "picture"
    warm.write_bytes(small("JPEG"))
    ran = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", READER, warm, *files.values()], capture_output=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    assert ran.stderr == b"", "nothing is said outside the log"
    _, *told = map(json.loads, ran.stdout.splitlines())
    return dict(zip(files, told, strict=True))


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_picture_is_made_anew_or_refused_within_bounds(
    name: str, files: dict[str, Path], costs: dict[str, dict[str, Any]]
) -> None:
    told = costs[name]
    assert told["outcome"] in FILES[name][1]
    assert told["seconds"] <= SECONDS
    assert told["growth"] <= GROWTH
    if told["outcome"] == MADE:
        assert_clean(files[name].with_suffix(".webp").read_bytes())


STATUSES = {UNSUPPORTED: 415, UNREADABLE: 422, LARGE: 422, COMPLEX: 422, MADE: 200}
PATH = "/api/v1/users/me/avatar"


@pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")  # as the service has it; a test run forgets that in between
async def test_over_http_each_is_taken_and_served_clean_or_refused_as_the_clients_fault(
    client: httpx.AsyncClient, account: dict[str, str], log_in: Any, files: dict[str, Path]
) -> None:
    headers = {"Authorization": f"Bearer {(await log_in())['access_token']}"}
    me = (await client.get("/api/v1/users/me", headers=headers)).json()
    assert me["username"] == account["username"]
    for name, path in files.items():
        data = await asyncio.to_thread(path.read_bytes)
        form = {"avatar": ("portrait.png", data, "image/png")}
        answer = await client.put(PATH, files=form, headers=headers, timeout=60)
        assert answer.status_code in {STATUSES[outcome] for outcome in FILES[name][1]}, (name, answer.text)
        if answer.status_code == 200:
            shown = await client.get(f"/api/v1/users/{me['id']}/avatar")
            assert (shown.status_code, shown.headers["content-type"]) == (200, "image/webp")
            assert_clean(shown.content)
