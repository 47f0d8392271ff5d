"""What becomes of a picture: its pixels are kept, upright and in the colours meant, and nothing else is."""

import asyncio
import io
import struct
import zlib
from typing import Any

import msgspec
import pytest
from PIL import Image, ImageCms

from auth.images import SIDE, Pictures, UnsupportedImageError, made_anew
from auth.settings import AuthSettings
from common.errors import InvalidError, UnavailableError

PIXELS = 16_000_000
CLOSE = 12
"""How far a colour may be off after lossy encoding."""


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=["WEBP"])
    image.load()
    assert image.size == (SIDE, SIDE)
    return image


def at(image: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    pixel = image.getpixel(place)
    assert isinstance(pixel, tuple)
    return pixel


def close(pixel: tuple[int, ...], wanted: tuple[int, ...], by: int = CLOSE) -> bool:
    return len(pixel) == len(wanted) and all(abs(a - b) <= by for a, b in zip(pixel, wanted, strict=True))


def code_of(data: bytes, pixels: int = PIXELS) -> str:
    try:
        made_anew(data, pixels)
    except InvalidError as error:
        return error.code
    except UnsupportedImageError:
        return "unsupported"
    return "made"


ORANGE = (230, 120, 20)
MODES = [
    *[(mode, kind) for kind in ("PNG", "JPEG", "WEBP") for mode in ("RGB", "L")],
    *[("RGBA", "PNG"), ("RGBA", "WEBP"), ("LA", "PNG"), ("P", "PNG"), ("1", "PNG"), ("CMYK", "JPEG")],
]


@pytest.mark.parametrize(("mode", "kind"), MODES)
@pytest.mark.parametrize("side", [3, 600, 2100])
def test_a_colour_stays_what_it_was(mode: str, kind: str, side: int) -> None:
    image = Image.new("RGB", (side, side), ORANGE).convert(mode, dither=Image.Dither.NONE)
    wanted = image.convert("RGB").getpixel((0, 0))
    assert isinstance(wanted, tuple)
    made = decoded(made_anew(encoded(image, kind), PIXELS))
    assert made.mode == "RGB"
    assert close(at(made, (256, 256)), wanted)


@pytest.mark.parametrize("value", [0, 1000, 32_768, 65_535])
def test_sixteen_bits_of_grey_become_eight(value: int) -> None:
    image = Image.frombytes("I;16", (600, 600), struct.pack("<H", value) * 360_000)
    made = decoded(made_anew(encoded(image, "PNG"), PIXELS))
    assert close(at(made, (256, 256)), (value >> 8,) * 3, 4)


def test_what_shines_through_still_does_and_lends_no_colour() -> None:
    image = Image.new("RGBA", (900, 900), (0, 255, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 450, 900))
    made = decoded(made_anew(encoded(image, "PNG"), PIXELS))
    assert made.mode == "RGBA"
    assert at(made, (400, 256))[3] == 0
    assert close(at(made, (100, 256)), (255, 0, 0, 255))
    assert at(made, (252, 256))[1] < 60, "the colour of a pixel that is not seen is not mixed into its neighbours"


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_colour_that_stands_for_nothing_shines_through(mode: str) -> None:
    image = Image.new(mode, (60, 60), 0)
    transparency: Any = (0, 0, 0) if mode == "RGB" else 0
    made = decoded(made_anew(encoded(image, "PNG", transparency=transparency), PIXELS))
    assert at(made, (256, 256))[3] == 0


def corners(image: Image.Image) -> list[str]:
    """The colours of the corners, from the upper left, clockwise."""
    names = {(255, 0, 0): "red", (0, 255, 0): "green", (0, 0, 255): "blue", (255, 255, 255): "white"}
    found = []
    for place in ((60, 60), (450, 60), (450, 450), (60, 450)):
        pixel = at(image, place)
        found.append(next((name for colour, name in names.items() if close(pixel, colour, 40)), str(pixel)))
    return found


def quarters(size: tuple[int, int]) -> Image.Image:
    """Red, green, blue and white, clockwise from the upper left."""
    image = Image.new("RGB", size)
    half, low = size[0] // 2, size[1] // 2
    image.paste((255, 0, 0), (0, 0, half, low))
    image.paste((0, 255, 0), (half, 0, size[0], low))
    image.paste((0, 0, 255), (half, low, *size))
    image.paste((255, 255, 255), (0, low, half, size[1]))
    return image


UPRIGHT = ["red", "green", "blue", "white"]
TURNS = {
    1: ["red", "green", "blue", "white"],
    2: ["green", "red", "white", "blue"],
    3: ["blue", "white", "red", "green"],
    4: ["white", "blue", "green", "red"],
    5: ["red", "white", "blue", "green"],
    6: ["white", "red", "green", "blue"],
    7: ["blue", "green", "red", "white"],
    8: ["green", "blue", "white", "red"],
}
"""What EXIF's orientations (TIFF 6.0, tag 274) make of the four corners."""


@pytest.mark.parametrize(("orientation", "wanted"), TURNS.items())
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_turned_as_its_camera_says(orientation: int, wanted: list[str], kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    made = decoded(made_anew(encoded(quarters((700, 640)), kind, exif=exif.tobytes()), PIXELS))
    assert corners(made) == wanted


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_orientation_that_there_is_not_changes_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert corners(decoded(made_anew(encoded(quarters((700, 640)), "JPEG", exif=exif.tobytes()), PIXELS))) == UPRIGHT


@pytest.mark.parametrize("size", [(1500, 300), (300, 1500), (301, 300)])
def test_the_middle_is_kept(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "blue")
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    image.paste((255, 0, 0), (left, top, left + side, top + side))
    made = decoded(made_anew(encoded(image, "PNG"), PIXELS))
    assert all(close(at(made, place), (255, 0, 0)) for place in ((5, 5), (506, 5), (256, 256), (5, 506), (506, 506)))


def test_colours_are_taken_as_their_profile_means_them() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    plain = made_anew(encoded(Image.new("RGB", (60, 60), ORANGE), "PNG"), PIXELS)
    same = made_anew(encoded(Image.new("RGB", (60, 60), ORANGE), "PNG", icc_profile=srgb.tobytes()), PIXELS)
    assert close(at(decoded(same), (256, 256)), at(decoded(plain), (256, 256)), 3)
    unfit = made_anew(encoded(Image.new("RGB", (60, 60), ORANGE), "PNG", icc_profile=profile.tobytes()), PIXELS)
    assert close(at(decoded(unfit), (256, 256)), ORANGE), "a profile that is none of RGB is ignored"


def swapped_profile() -> bytes:
    """Take sRGB's description with the primaries of red and blue in each other's place."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132])
    entries = {bytes(profile[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_profile_with_other_primaries_changes_the_numbers(mode: str) -> None:
    image = Image.new("RGB", (60, 60), (255, 0, 0)).convert(mode)
    made = decoded(made_anew(encoded(image, "PNG", icc_profile=swapped_profile()), PIXELS))
    assert close(at(made, (256, 256))[:3], (0, 0, 255), 30)


def test_what_comes_out_is_the_same_for_the_same_and_holds_no_metadata() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Camera of somebody"
    exif.get_ifd(0x8825)[1] = "N"
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>somebody</x:xmpmeta>"
    data = encoded(quarters((700, 640)), "JPEG", exif=exif.tobytes(), xmp=xmp, comment=b"somebody")
    made = made_anew(data, PIXELS)
    assert made == made_anew(data, PIXELS)
    assert b"somebody" not in made
    assert chunks(made) == [b"VP8 "]


def chunks(webp: bytes) -> list[bytes]:
    """Name the chunks of a WebP."""
    names, place = [], 12
    assert int.from_bytes(webp[4:8], "little") == len(webp) - 8
    while place < len(webp):
        names.append(webp[place : place + 4])
        length = int.from_bytes(webp[place + 4 : place + 8], "little")
        place += 8 + length + length % 2
    return names


def test_of_an_animation_the_first_picture_is_kept() -> None:
    frames = [Image.new("RGB", (60, 60), colour) for colour in ("red", "green", "blue")]
    for kind in ("PNG", "WEBP"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)
        made = made_anew(data, PIXELS)
        assert close(at(decoded(made), (256, 256)), (255, 0, 0))
        assert not getattr(decoded(made), "is_animated", False)


def test_the_limit_counts_pixels_and_of_webp_each_twice() -> None:
    square = Image.new("RGB", (1000, 1000))
    assert code_of(encoded(square, "PNG"), 1_000_000) == "made"
    assert code_of(encoded(square, "PNG"), 999_999) == "image_too_large"
    assert code_of(encoded(square, "WEBP"), 2_000_000) == "made"
    assert code_of(encoded(square, "WEBP"), 1_999_999) == "image_too_large"
    assert code_of(encoded(Image.new("RGB", (16_384, 10)), "PNG")) == "image_too_large"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_is_cut_off_anywhere_is_refused(kind: str) -> None:
    whole = encoded(Image.effect_noise((400, 400), 60).convert("RGB"), kind)
    for part in range(1, 20):
        assert code_of(whole[: len(whole) * part // 20]) in {"image_unreadable", "unsupported"}, part


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_damaged_byte_anywhere_is_no_fault_of_ours(kind: str) -> None:
    whole = encoded(Image.effect_noise((60, 60), 60).convert("RGB"), kind)
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        for change in (0x01, 0xFF):
            damaged = bytearray(whole)
            damaged[place] ^= change
            assert code_of(bytes(damaged)) in {"made", "unsupported", "image_unreadable", "image_too_large"}


def test_a_file_that_never_comes_to_its_pixels_is_given_up() -> None:
    chunk = struct.pack(">I", 0) + b"auXi" + struct.pack(">I", zlib.crc32(b"auXi"))
    whole = encoded(Image.new("RGB", (8, 8)), "PNG")
    assert code_of(whole[:33] + chunk * 870_000 + whole[33:]) == "image_too_complex"


@pytest.mark.parametrize("begins", [b"", b"\xff", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 "])
def test_a_beginning_alone_is_no_picture(begins: bytes) -> None:
    assert code_of(begins) in {"unsupported", "image_unreadable"}


def one_place() -> Pictures:
    return Pictures(msgspec.structs.replace(AuthSettings(), avatar_uploads=1))


async def test_a_place_is_given_back_whatever_became_of_the_picture() -> None:
    pictures = one_place()
    with pytest.raises(InvalidError), pictures:
        await pictures.made_anew(b"\xff\xd8\xff")
    with pictures, pytest.raises(UnavailableError) as refused:
        pictures.__enter__()
    assert (refused.value.code, refused.value.retry_after) == ("busy", 2)
    with pictures:
        pass


async def test_decoding_leaves_the_event_loop_alone() -> None:
    pictures = one_place()
    data = encoded(Image.effect_noise((2500, 2500), 60), "PNG")
    decoding = asyncio.create_task(pictures.made_anew(data))
    turns = 0
    while not decoding.done():
        await asyncio.sleep(0)
        turns += 1
    assert turns > 100
