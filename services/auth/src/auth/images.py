"""Pictures that people send: read by what they are, never by what they are called, and written anew.

What comes out was made here from pixels alone, so nothing that was hidden in what came in is passed on. What it may
cost is bounded before and while it is read: pixels, scans, segments and the processor's time.
"""

import io
import re
import struct
import time
import warnings
import zlib
from collections.abc import Iterator
from typing import Final

from anyio import CapacityLimiter, to_thread
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from auth.settings import AuthSettings
from common.errors import InvalidError, UnavailableError

SIDE: Final = 512
"""Width and height of what is kept, in pixels."""
QUALITY: Final = 82
MEDIA_TYPE: Final = "image/webp"
LONGEST_SIDE: Final = 16_383
"""Pixels; a longer line costs more memory than its pixels do."""
STRIP: Final = 64
"""Pixels high, after it is reduced."""
WEBP_WEIGHT: Final = 2
"""Its decoder keeps four copies of the picture, at four bytes a pixel, where others need two at most."""
SCANS: Final = 64
"""A progressive JPEG has about ten; each one costs a pass over all pixels, however few bytes it has."""
SEGMENTS: Final = 4096
SECONDS: Final = 1.5
"""Of the processor, for reading one picture."""
PROFILE_BYTES: Final = 1024 * 1024
"""Colours described by a longer profile are taken as they are."""
RETRY_SECONDS: Final = 2

_PNG = b"\x89PNG\r\n\x1a\n"
_FORMATS = {
    JpegImagePlugin.JpegImageFile.format: re.compile(rb"\xff\xd8\xff"),
    PngImagePlugin.PngImageFile.format: re.compile(re.escape(_PNG)),
    WebPImagePlugin.WebPImageFile.format: re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL),
}
"""How each accepted format begins."""
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each orientation of EXIF."""
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_ALONE = {0x01, 0xD8}
"""Markers without a length, apart from those inside a scan."""
_BROKEN = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, MemoryError, RuntimeError),
    *(struct.error, zlib.error, UserWarning),
)
"""What Pillow's readers raise over a file that is not as it should be; a warning only where warnings are errors."""


class UnsupportedImageError(Exception):
    """The file is no JPEG, PNG or WebP."""


class _TooLongError(Exception):
    """Reading takes more of the processor than a picture may."""


class _Hurried(io.BytesIO):
    """A file that is not read on once it has cost too much; whatever loops over its pieces ends there."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._until = time.thread_time() + SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read on; raise when the time is up."""
        if time.thread_time() > self._until:
            raise _TooLongError
        return super().read(size)


class Pictures:
    """Makes pictures anew in a few threads. What it is doing and what waits for it is bounded, as is its memory."""

    def __init__(self, settings: AuthSettings) -> None:
        self._pixels = settings.avatar_megapixels * 1_000_000
        self._threads = CapacityLimiter(settings.avatar_threads)
        self._room = settings.avatar_uploads
        self._inside = 0
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of what is told to the client
        warnings.simplefilter("error", Image.DecompressionBombWarning)

    def __enter__(self) -> None:
        """Take one of the places for a picture, which is to be held while it is still coming in, or raise."""
        if self._inside >= self._room:
            detail = "Too many pictures are being sent right now. Try again shortly."
            raise UnavailableError("busy", detail, retry_after=RETRY_SECONDS)
        self._inside += 1

    def __exit__(self, *_: object) -> None:
        """Give the place back."""
        self._inside -= 1

    async def made_anew(self, data: bytes) -> bytes:
        """Return the picture as a square WebP; raise `UnsupportedImageError` or `InvalidError`."""
        return await to_thread.run_sync(made_anew, data, self._pixels, limiter=self._threads)


def made_anew(data: bytes, pixels: int) -> bytes:
    """Decode a picture of at most so many pixels and return its middle as a square WebP without any metadata."""
    kind = next((kind for kind, begins in _FORMATS.items() if begins.match(data)), None)
    if kind is None:
        raise UnsupportedImageError
    if kind == "JPEG":
        _check_scans(data)
    try:
        with Image.open(_Hurried(data), formats=(kind,)) as picture:
            _check_size(picture, pixels)
            if kind == "JPEG":
                picture.draft(None, (SIDE, SIDE))
            return _written(_square(picture))
    except Image.DecompressionBombError as error:
        raise _too_large(pixels) from error
    except Image.DecompressionBombWarning as error:
        raise _too_large(pixels) from error
    except _TooLongError as error:
        raise _too_complex() from error
    except _BROKEN as error:
        raise InvalidError("image_unreadable", "The picture is damaged or incomplete.") from error


def _check_size(picture: Image.Image, pixels: int) -> None:
    """Refuse by what the header says, before memory is taken for it."""
    width, height = picture.size
    weight = WEBP_WEIGHT if picture.format == "WEBP" else 1
    if width * height * weight > pixels or max(width, height) > LONGEST_SIDE:
        raise _too_large(pixels)


def _check_scans(data: bytes) -> None:
    """Refuse a JPEG that is read more often, or is cut into more pieces, than one that shows something."""
    scans = 0
    for segments, marker in enumerate(_markers(data), start=1):
        scans += marker == _START_OF_SCAN
        if scans > SCANS or segments > SEGMENTS:
            raise _too_complex()


def _markers(data: bytes) -> Iterator[int]:
    """Yield a JPEG's markers up to its end (ITU T.81 annex B); bytes of pixels hold none."""
    at = 0
    while found := _MARKER.search(data, at):
        marker, at = found[1][0], found.end()
        if marker == _END_OF_IMAGE:
            return
        yield marker
        if marker not in _ALONE:
            at += int.from_bytes(data[at : at + 2])


def _square(picture: Image.Image) -> Image.Image:
    """Return the middle of a picture, upright, in sRGB, with alpha only where something shines through."""
    picture.load()
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    reduced = _reduced(picture, (left, top, left + side, top + side))
    small = reduced.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    small = _in_srgb(small, picture.info.get("icc_profile"))
    turn = _turn(picture)
    return small if turn is None else small.transpose(turn)


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """Return what sets the picture upright; where that cannot be read, a camera's note is no reason to refuse it."""
    try:
        return _UPRIGHT.get(picture.getexif().get(_ORIENTATION, 1))
    except _BROKEN:
        return None


def _reduced(picture: Image.Image, box: tuple[int, int, int, int]) -> Image.Image:
    """Cut out the box, with twice to four times the pixels that are wanted; in strips, so that it takes no memory."""
    left, top, right, bottom = box
    factor = max(1, (right - left) // (2 * SIDE))
    height = factor * STRIP
    strips = [
        _mixable(picture.crop((left, upper, right, min(upper + height, bottom)))).reduce(factor)
        for upper in range(top, bottom, height)
    ]
    whole = Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
    for index, strip in enumerate(strips):
        whole.paste(strip, (0, index * STRIP))
    return whole


def _mixable(cut: Image.Image) -> Image.Image:
    """Return a mode in which a mean of neighbouring pixels is a colour between them."""
    if cut.mode.startswith("I"):
        return cut.point(lambda value: value / 256).convert("L")
    if cut.mode in {"P", "PA", "LA", "La", "RGBa"} or "transparency" in cut.info:
        return cut.convert("RGBA")
    return cut.convert("L") if cut.mode == "1" else cut


def _in_srgb(small: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert to RGB or RGBA by the picture's own colour profile; one that does not fit the picture is ignored."""
    alpha = small.getchannel("A") if small.mode == "RGBA" else None
    colours = small.convert("RGB") if alpha else small
    if profile and len(profile) <= PROFILE_BYTES:
        try:
            described = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(colours, described, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None
        colours = converted or colours
    colours = colours.convert("RGB")
    if alpha and alpha.getextrema() != (255, 255):
        colours.putalpha(alpha)
    return colours


def _written(picture: Image.Image) -> bytes:
    """Encode pixels and nothing else."""
    clean = Image.frombytes(picture.mode, picture.size, picture.tobytes())
    file = io.BytesIO()
    clean.save(file, "WEBP", quality=QUALITY, method=4, exif=b"", icc_profile=b"", xmp=b"")
    return file.getvalue()


def _too_large(pixels: int) -> InvalidError:
    detail = f"The picture may have {pixels // 1_000_000} megapixels, a WebP half as many, and {LONGEST_SIDE} a side."
    return InvalidError("image_too_large", detail)


def _too_complex() -> InvalidError:
    return InvalidError("image_too_complex", "The picture takes too long to read. Save it anew and try again.")
