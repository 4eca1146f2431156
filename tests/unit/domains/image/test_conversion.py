"""What becomes of image files of all modes and sizes, and of broken ones."""

import io
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from selfloop.domains.image.data import readers
from selfloop.domains.image.data.conversion import Tally, _plain, convert, converted
from selfloop.errors import UserError

from .conftest import png, settings

ORANGE = np.full((6, 6, 3), (250, 120, 10), dtype=np.uint8)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("image", "color", "expected"),
    [
        (Image.fromarray(ORANGE), "rgb", (250, 120, 10)),
        (Image.fromarray(ORANGE), "gray", (146,)),  # 0.299 R + 0.587 G + 0.114 B
        (Image.new("L", (6, 6), 77), "rgb", (77, 77, 77)),
        (Image.new("1", (6, 6), 1), "gray", (255,)),
        (Image.new("RGBA", (6, 6), (250, 120, 10, 255)), "rgb", (250, 120, 10)),
        (Image.new("RGBA", (6, 6), (250, 120, 10, 0)), "rgb", (255, 255, 255)),
        (Image.new("LA", (6, 6), (0, 0)), "gray", (255,)),
        (Image.fromarray(ORANGE).convert("P", palette=Image.Palette.ADAPTIVE), "rgb", (250, 120, 10)),
        (Image.fromarray(np.full((6, 6), 77 * 256 + 13, dtype=np.uint16)), "gray", (77,)),
    ],
    ids=[
        "rgb",
        "rgb to gray",
        "gray to rgb",
        "bits",
        "opaque",
        "transparent",
        "gray transparent",
        "palette",
        "16 bits",
    ],
)
def test_every_mode_becomes_gray_or_rgb(image: Image.Image, color: str, expected: tuple[int, ...]) -> None:
    picture = convert(saved(image), 4, None, color)
    assert picture.pixels.shape == (len(expected), 4, 4)
    assert np.abs(picture.pixels.astype(int) - np.array(expected)[:, None, None]).max() <= 1


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def transparent_png(depth: int, color: int, row: str, value: str, palette: str = "") -> bytes:
    """A PNG of 8x8 pixels, every row the same, with a transparent value (of a palette, an alpha per entry)."""
    header = struct.pack(">IIBBBBB", 8, 8, depth, color, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", bytes.fromhex(palette)), (b"tRNS", bytes.fromhex(value))]
    data = zlib.compress((b"\0" + bytes.fromhex(row)) * 8)
    pieces = [chunk(*each) for each in [*chunks, (b"IDAT", data), (b"IEND", b"")] if each[1] or each[0] == b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(pieces)


@pytest.mark.parametrize(
    ("content", "left", "right"),
    [
        (transparent_png(1, 0, "0f", "0000"), 255, 255),
        (transparent_png(1, 0, "0f", "0001"), 0, 255),
        (transparent_png(2, 0, "55aa", "0001"), 255, 170),
        (transparent_png(2, 0, "55aa", "0002"), 85, 255),
        (transparent_png(4, 0, "55557777", "0005"), 255, 119),
        (transparent_png(8, 0, "05050505 06060606", "0005"), 255, 6),
        (transparent_png(16, 0, "0705" * 4 + "0806" * 4, "0705"), 255, 8),
        (transparent_png(16, 0, "0000" * 4 + "0100" * 4, "0000"), 255, 1),
        (transparent_png(8, 2, "050505" * 4 + "060606" * 4, "000500050005"), 255, 6),
        (transparent_png(16, 2, "070507050705" * 4 + "080608060806" * 4, "070507050705"), 255, 8),
        (transparent_png(4, 3, "00001111", "00", "000000 070707"), 255, 7),
        (transparent_png(8, 3, "00" * 4 + "01" * 4, "00ff", "000000 070707"), 255, 7),
        (transparent_png(8, 3, "00" * 4 + "01" * 4, "ff00", "060606 070707"), 6, 255),
    ],
)
@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_a_transparent_value_of_a_png_of_any_depth_is_white(content: bytes, left: int, right: int, color: str) -> None:
    pixels = convert(content, 8, None, color).pixels
    assert (pixels[:, :, :4] == left).all()
    assert (pixels[:, :, 4:] == right).all()


def palette_with_alpha() -> Image.Image:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 9, 9, 9, 0], "RGBA")
    return image


@pytest.mark.parametrize("color", ["gray", "rgb"])
@pytest.mark.parametrize(
    "image", [palette_with_alpha(), *(Image.new(mode, (4, 4)) for mode in ("LA", "La", "PA", "RGBA", "RGBa"))]
)
def test_transparency_is_white_in_every_mode_of_pillow(image: Image.Image, color: str) -> None:
    assert (np.asarray(_plain(image).convert({"gray": "L", "rgb": "RGB"}[color])) == 255).all()


@pytest.mark.parametrize("color", ["gray", "rgb"])
def test_a_tiff_in_lab_colours_is_used(color: str) -> None:
    assert (convert(saved(Image.new("LAB", (4, 4), (128, 128, 128)), "TIFF"), 4, None, color).pixels == 119).all()


def test_texts_and_profiles_of_a_png_which_are_not_used_may_be_of_any_size() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("comment", "x" * (2 * PngImagePlugin.MAX_TEXT_CHUNK), zip=True)
    content = saved(Image.fromarray(ORANGE), pnginfo=texts, icc_profile=bytes(2 * PngImagePlugin.MAX_TEXT_CHUNK))
    assert np.array_equal(convert(content, 6, None, "rgb").pixels, ORANGE.transpose(2, 0, 1))


def test_a_limit_is_not_called_damage(folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder({"a.png": png(ORANGE[:4, :4]), "b.png": png(ORANGE)})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 17)
    with pytest.raises(
        UserError, match=r"b\.png: the image is beyond a limit: Image size \(36 pixels.*Make it smaller"
    ):
        run(path, size=4)
    rows, _, tally = run(path, size=4, broken="drop")
    assert (rows, len(tally.broken), len(tally.beyond)) == ([0], 0, 1)
    assert list(tally.lines("train"))[-1].startswith("train: 1 images beyond a limit dropped: ")


@pytest.fixture
def traced() -> Iterator[Callable[[], int]]:
    """The peak of Python's memory since the last `tracemalloc.reset_peak()`, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_file_that_is_too_large_for_an_image_is_refused_before_it_is_read(
    folder: Callable[..., Path],
    tmp_path: Path,
    as_zip: bool,
    monkeypatch: pytest.MonkeyPatch,
    traced: Callable[[], int],
) -> None:
    monkeypatch.setattr(readers, "LARGEST", 10_000_000)
    path = folder({"a.png": png(ORANGE), "b.png": bytes(20_000_000)})
    if as_zip:
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
            for name in ("a.png", "b.png"):
                file.write(path / name, name)
        path = tmp_path / "a.zip"
    images = readers.of_path(path, "train", None)
    tracemalloc.reset_peak()
    with pytest.raises(readers.BeyondLimit, match=r"20\.0 MB \(allowed: at most 10\.0 MB\)"):
        images.read(1)
    assert traced() < 10_000_000
    with pytest.raises(UserError, match=r"b\.png: the image is beyond a limit: .*20\.0 MB"):
        run(path, size=4)


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_member_of_a_zip_that_unpacks_to_more_than_its_directory_says_does_not_fill_memory(
    tmp_path: Path, kind: int, traced: Callable[[], int]
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", kind) as file:
        file.writestr("a.png", bytes(100_000_000))
    content = path.read_bytes()
    path.write_bytes(content.replace(struct.pack("<I", 100_000_000), struct.pack("<I", 1000)))
    images = readers.of_path(path, "train", None)
    tracemalloc.reset_peak()
    with pytest.raises(UserError, match="it cannot be read: "):
        images.read(0)
    assert traced() < 90_000_000


def test_the_centre_is_cut_and_resized() -> None:
    pixels = np.zeros((10, 14), dtype=np.uint8)
    pixels[3:7, 5:9] = 200
    assert (convert(png(pixels), 4, 4, "gray").pixels == 200).all()
    largest = convert(png(pixels), 10, None, "gray")
    assert np.array_equal(largest.pixels[0], pixels[:, 2:12])
    assert (largest.mode, largest.size) == ("L", (14, 10))


def test_making_smaller_averages() -> None:
    stripes = np.tile(np.array([0, 200], dtype=np.uint8), (32, 16))
    small = convert(png(stripes), 4, None, "gray").pixels.astype(int)
    assert np.abs(small - 100).max() < 12


def test_a_photograph_is_turned_as_its_camera_says() -> None:
    pixels = np.zeros((4, 4), dtype=np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    turned = convert(saved(Image.fromarray(pixels), "PNG", exif=exif), 4, None, "gray").pixels[0]
    assert np.array_equal(turned, pixels[::-1])


def deep(value: int, kind: type = np.uint16) -> Image.Image:
    return Image.fromarray(np.full((6, 6), value, dtype=kind))


@pytest.mark.parametrize(
    "content",
    [
        saved(deep(200)),
        saved(deep(200), "TIFF"),
        saved(deep(200, np.int32), "TIFF"),
        b"P5 6 6 65535 " + (200).to_bytes(2, "big") * 36,
    ],
    ids=["png", "tiff", "tiff of 32 bits", "pgm"],
)
def test_a_dark_image_of_16_bits_is_as_dark_as_it_is_beside_a_bright_one(content: bytes) -> None:
    assert (convert(content, 4, None, "gray").pixels == 0).all()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (deep(65536, np.int32), r"of 32 bits, from 65536 to 65536 \(allowed: 0 to 65535, 16 bits"),
        (deep(-1, np.int32), "of 32 bits, from -1 to -1"),
        (Image.new("F", (6, 6), 0.7), "its values are floats"),
    ],
    ids=["32 bits", "negative", "floats"],
)
def test_an_image_whose_scale_nothing_tells_is_broken(
    folder: Callable[..., Path], image: Image.Image, said: str
) -> None:
    path = folder({"a.png": png(ORANGE), "b.tiff": saved(image, "TIFF")})
    with pytest.raises(UserError, match=rf"images: b\.tiff: the image cannot be used: .*{said}"):
        run(path, size=4)
    rows, _, tally = run(path, size=4, broken="drop")
    assert (rows, len(tally.broken)) == ([0], 1)


def run(path: Path, **data: object) -> tuple[list[int], np.ndarray, Tally]:
    tally = Tally()
    blocks = list(
        converted(readers.of_path(path, "train", None), settings(source="files", train=str(path), **data), 2, tally)
    )
    return [row for kept, _ in blocks for row in kept], np.concatenate([pixels for _, pixels in blocks]), tally


def test_mixed_modes_and_sizes_are_counted(folder: Callable[..., Path]) -> None:
    files = {"a.png": png(ORANGE), "b.png": png(ORANGE[:5], "L"), "c.png": png(np.tile(ORANGE, (4, 4, 1)))}
    rows, pixels, tally = run(folder(files), size=8, color="rgb")
    assert (rows, pixels.shape) == ([0, 1, 2], (3, 3, 8, 8))
    assert (tally.modes, tally.sizes) == ({"RGB": 2, "L": 1}, {(6, 6): 1, (6, 5): 1, (24, 24): 1})
    lines = list(tally.lines("train"))
    assert lines[0] == "train: 3 images; modes 2 x RGB, 1 x L; sizes 1 x 6x6, 1 x 6x5, 1 x 24x24"
    assert lines[1].startswith("train: 2 images are smaller")


def test_further_frames_are_left_out_and_counted(folder: Callable[..., Path]) -> None:
    first, second = Image.new("L", (6, 6), 40), Image.new("L", (6, 6), 200)
    files = {f"{kind}.{kind}": saved(first, kind, save_all=True, append_images=[second]) for kind in ("gif", "tiff")}
    _, pixels, tally = run(folder(files | {"one.png": png(np.full((6, 6), 40, np.uint8), "L")}), size=4)
    assert np.unique(pixels).tolist() == [40]
    assert list(tally.lines("train"))[1:] == ["train: 2 images have several frames, of which the first was taken"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "format is unknown"),
        (b"<html>not found</html>", "format is unknown"),
        (png(ORANGE)[:-30], ""),
        (png(ORANGE[:3]), "6x3, smaller than data.crop, 4"),
    ],
    ids=["empty", "no image", "truncated", "smaller than crop"],
)
def test_a_broken_image_stops_the_study_or_is_left_out_and_counted(
    folder: Callable[..., Path], content: bytes, said: str
) -> None:
    path = folder({"a.png": png(ORANGE), "b.png": content, "c.png": png(ORANGE)})
    with pytest.raises(UserError, match=r"images: b\.png: the image cannot be used: .*data\.broken: drop") as caught:
        run(path, size=4, crop=4)
    assert said in str(caught.value)
    rows, pixels, tally = run(path, size=4, crop=4, broken="drop")
    assert (rows, len(pixels), tally.modes.total()) == ([0, 2], 2, 2)
    assert "train: 1 broken images dropped" in list(tally.lines("train"))[-1]


def with_damaged_exif(pixels: np.ndarray) -> bytes:
    """A JPEG that is to be turned, with another tag of the wrong type; its pixels are fine."""
    exif = Image.Exif()
    exif[0x0112], exif[0x0100] = 3, 6
    content = saved(Image.fromarray(pixels), "JPEG", exif=exif)
    number = content.index(b"\x01\x00\x00\x04\x00\x00\x00\x01")  # the tag 0x0100, one number of 4 bytes
    return content[: number + 2] + b"\x00\x02" + content[number + 4 :]  # as text


def test_damaged_exif_data_make_an_image_broken(folder: Callable[..., Path]) -> None:
    path = folder({"a.jpg": saved(Image.fromarray(ORANGE), "JPEG"), "b.jpg": with_damaged_exif(ORANGE)})
    with pytest.raises(UserError, match=r"images: b\.jpg: the image cannot be used: its EXIF data are damaged"):
        run(path, size=4)
    rows, _, tally = run(path, size=4, broken="drop")
    assert (rows, len(tally.broken)) == ([0], 1)


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_a_zip_is_broken(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", kind) as file:
        for name in ("a.png", "b.png"):
            file.writestr(name, png(np.random.default_rng(0).integers(0, 255, (9, 9), dtype=np.uint8)))
        begin = file.getinfo("b.png").header_offset + 30 + len("b.png")
    content = bytearray(path.read_bytes())
    content[begin + 9 : begin + 60] = b"\xff" * 51
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.zip: b\.png: the image cannot be used: it cannot be read: .*broken: drop"):
        run(path, size=4)
    rows, _, tally = run(path, size=4, broken="drop")
    assert (rows, len(tally.broken)) == ([0], 1)


def test_a_row_without_an_image_is_broken() -> None:
    content = [png(ORANGE), None, png(ORANGE)]

    def table(*_: object, **__: object) -> datasets.Dataset:
        features = datasets.Features({"image": datasets.Image()})
        images = [None if each is None else {"bytes": each, "path": None} for each in content]
        return datasets.Dataset.from_dict({"image": images}, features=features)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_dataset", table)
        images = readers.hub_images(settings(source="hub", name="a/b"), "train_split")
    tally, data = Tally(), settings(source="hub", name="a/b", size=4)
    with pytest.raises(UserError, match=r"a/b \[train\]: row 2: the image cannot be used: there is no image"):
        list(converted(images, data, 2, Tally()))
    ((rows, _),) = converted(images, data.changed(broken="drop"), 2, tally)
    assert (rows, len(tally.broken)) == ([0, 2], 1)
