"""Image files, masks, and images that are read row by row."""

import io
from pathlib import Path
from typing import Any

from tests.fuzz.edits import byte_edits, either, text_edits
from tests.fuzz.harness import Reader
from tests.fuzz.parts import part_edits

MAX_PIXELS = 1_000_000
_TABLE = "name,label,r,g,b\nroad,0,128,64,128\nsky,1,70,130,180\ncar,2,0,0,142\nvoid,9,0,0,0\n"


def pixels(seed: int = 0, height: int = 24, width: int = 32) -> Any:
    """Draw soft blobs with some noise, height x width x 3."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height)))
    return (smooth // 2 + rng.integers(0, 64, smooth.shape, dtype=np.uint8)).astype(np.uint8)


def encoded(image: Any, kind: str, **options: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def put(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _write_all(folder: Path, name: str, *contents: bytes) -> None:
    for number, content in enumerate(contents):
        put(folder / str(number) / name, content)


def _image() -> Any:
    from PIL import Image

    return Image.fromarray(pixels())


def _exif() -> Any:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "taken by nobody"
    return exif


def _jpegs(folder: Path) -> None:
    image = _image()
    _write_all(
        folder,
        "a.jpg",
        encoded(image, "JPEG", exif=_exif()),
        encoded(image, "JPEG", progressive=True, subsampling=0, icc_profile=b"none" * 30),
        encoded(image.convert("L"), "JPEG", restart_marker_rows=1),
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(image, "MPO", save_all=True, append_images=[image.rotate(9)]),
        *_remarked_jpegs(image),
    )


def _remarked_jpegs(image: Any) -> list[bytes]:
    """Whole images on which libjpeg remarks, so that hostile ones of that kind are judged too."""
    plain, slow = encoded(image, "JPEG"), encoded(image, "JPEG", progressive=True)
    restarts = encoded(image, "JPEG", restart_marker_blocks=1)
    at = restarts.index(b"\xff\xd1")
    return [
        plain[:-2] + bytes(range(1, 30)) + plain[-2:],
        slow[:-2] + bytes(range(1, 30)) + slow[-2:],
        restarts[:at] + b"strays" + restarts[at:-2],
        plain.replace(b"JFIF\0\1\1", b"JFIF\0\2\1"),
        plain[:2] + b"\xff\xed\0\x16Photoshop 3.0\0" + b"8BIM\4\4" + plain[2:],
    ]


def _pngs(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    image = _image()
    palette = image.quantize(16)
    _write_all(
        folder,
        "a.png",
        encoded(image, "PNG", exif=_exif(), dpi=(72, 72)),
        encoded(palette, "PNG", transparency=3),
        encoded(image.convert("LA"), "PNG"),
        encoded(Image.fromarray(pixels()[..., 0].astype(np.uint16) * 257), "PNG"),
        encoded(image.convert("1"), "PNG"),
        encoded(image, "PNG", save_all=True, append_images=[image.rotate(9)], pnginfo=_comments()),
        encoded(image, "PNG", pnginfo=_orientations())[:-12],
    )


def _comments() -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", "long " * 40, zip=True)
    info.add_itxt("Title", "ünïcode", "de", "titel", zip=True)
    return info


def _orientations() -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Raw profile type exif", "\nexif\n 26\n" + _exif().tobytes()[6:].hex(), zip=True)
    info.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="8"/>', zip=True)
    return info


def _webps(folder: Path) -> None:
    image = _image()
    _write_all(
        folder,
        "a.webp",
        encoded(image, "WEBP", exif=_exif()),
        encoded(image.convert("RGBA").rotate(9), "WEBP", lossless=True),
        encoded(image, "WEBP", save_all=True, append_images=[image.rotate(9)]),
    )


def _bmps(folder: Path) -> None:
    image = _image()
    _write_all(folder, "a.bmp", *(encoded(image.convert(mode), "BMP") for mode in ("RGB", "L", "P", "1")))


def _gifs(folder: Path) -> None:
    image = _image()
    _write_all(
        folder,
        "a.gif",
        encoded(image, "GIF"),
        encoded(image.quantize(8), "GIF", transparency=1, save_all=True, append_images=[image.rotate(9)], comment="c"),
    )


def _read_image(folder: Path) -> None:
    from eightgig.data.images.decoding import decode_rgb, inspect_image, is_plain_jpeg

    (path,) = folder.iterdir()
    inspect_image(path, max_pixels=MAX_PIXELS, min_side=1)
    decode_rgb(path.read_bytes(), max_pixels=MAX_PIXELS)
    is_plain_jpeg(path.read_bytes())


def _masks(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    labels = np.kron(np.array([[0, 1, 2], [9, 0, 1]], np.uint8), np.ones((8, 8), np.uint8))
    colours = np.array([[128, 64, 128], [70, 130, 180], [0, 0, 142]], np.uint8)[labels % 3]
    palette = Image.fromarray(labels % 3, "P")
    palette.putpalette([128, 64, 128, 70, 130, 180, 0, 0, 142])
    grey, deep = Image.fromarray(labels), Image.fromarray(labels.astype(np.uint16))
    for number, (name, content) in enumerate(
        [
            ("m.png", encoded(grey, "PNG")),
            ("m.png", encoded(deep, "PNG")),
            ("m.png", encoded(colours, "PNG")),
            ("m.png", encoded(palette, "PNG")),
            ("m.bmp", encoded(grey, "BMP")),
            ("m.tif", encoded(grey, "TIFF")),
            ("m.png", encoded(grey.convert("1"), "PNG")),
            ("m.png", encoded(palette, "PNG", transparency=b"\0\x80", bits=2)),
            ("m.png", encoded(grey.convert("LA"), "PNG")),
            ("m.gif", encoded(grey, "GIF")),
            ("m.pgm", b"P5\n24 16\n9\n" + labels.tobytes()),
            ("m.tif", encoded(palette, "TIFF")),
            ("m.tif", encoded(Image.fromarray(labels.astype(np.float32)), "TIFF")),
        ]
    ):
        put(folder / str(number) / name, content)
        put(folder / str(number) / "classes.csv", _TABLE)


def _read_mask(folder: Path) -> None:
    from eightgig.data.ingest.class_table import read_table
    from eightgig.tasks.segmentation.mask_files import read_mask

    table = read_table(folder / "classes.csv")
    for path in folder.glob("m.*"):
        read_mask(path, table, max_pixels=MAX_PIXELS)


def _tables(folder: Path) -> None:
    tables = {
        "0/classes.csv": _TABLE,
        "1/classes.csv": "name,label,void\nroad,7,0\nsky,8,\ncar,9,no\nrest,0,yes\n",
        "2/class_dict.csv": "name,r,g,b\nRoad,1,2,3\nSky,4,5,6\nVoid,0,0,0\n",
        "3/label_colors.txt": "64 128 64 Animal\n192 0 128 Archway of stone\n0 128 192 Bicyclist\n0 0 0 Void\n",
    }
    for name, text in tables.items():
        put(folder / name, text)


def _read_table(folder: Path) -> None:
    from eightgig.data.ingest.class_table import find_table

    find_table(folder, None)


def _large_images(folder: Path) -> None:
    import pyvips

    image = _image()
    for number, (name, content) in enumerate(
        [
            ("a.tif", encoded(image, "TIFF", compression="tiff_deflate")),
            ("a.tif", encoded(image.convert("CMYK"), "TIFF", compression="tiff_lzw")),
            ("a.tif", encoded(image, "TIFF")),
            ("a.png", encoded(image.convert("LA"), "PNG")),
            ("a.jpg", encoded(image, "JPEG", exif=_exif())),
            ("a.webp", encoded(image, "WEBP")),
            ("a.gif", encoded(image, "GIF")),
            ("a.bmp", encoded(image, "BMP")),
        ]
    ):
        put(folder / str(number) / name, content)
    heif = folder / "8" / "a.avif"
    heif.parent.mkdir()
    pyvips.Image.new_from_array(pixels()).write_to_file(str(heif))
    for number, content in enumerate(_strange_tiffs(), start=9):
        put(folder / str(number) / "a.tif", content)


def _strange_tiffs() -> list[bytes]:
    """More bands than colours, other numbers than bytes, several pages; small enough that edits meet the directory."""
    import numpy as np
    from tests.encoded_images import tiff_of

    bands = np.dstack([pixels(), pixels(1)[..., :2]])
    deep = bands.astype(np.uint16) * 257
    return [
        tiff_of(bands, 2, extra=[0, 2]),
        tiff_of(deep[..., :3], 2, order=">"),
        tiff_of(deep[..., :2], 1, extra=[1]),
        tiff_of(bands[..., :3], 2, planar=True, more=[(42113, 2, b"0\0")]),
        tiff_of(bands[..., :1], 0, pages_before=[tiff_of(bands[:4, :4, :1], 1, kind=1)]),
        tiff_of(bands[..., :4], 5),
    ]


def _read_rows(folder: Path) -> None:
    from eightgig.tiles.source import open_source

    (path,) = folder.iterdir()
    with open_source(path, max_pixels=MAX_PIXELS) as source:
        for top in range(0, source.height, 100):
            source.read(top, min(top + 100, source.height))
        assert isinstance(source.notes, tuple)


def _chosen_tiffs(folder: Path) -> None:
    import numpy as np
    from tests.encoded_images import tiff_of

    numbers = pixels().astype(np.float32) / 255
    for number, content in enumerate(
        [
            tiff_of(numbers, 2, more=[(42113, 2, b"-9999\0")]),
            tiff_of((numbers * 1000).astype(np.int16), 2, order=">"),
            tiff_of((numbers * 1000).astype(np.uint16)[..., [0, 1, 2, 0]], 1, extra=[0, 0, 0]),
        ]
    ):
        put(folder / str(number) / "a.tif", content)


def _read_chosen_rows(folder: Path) -> None:
    from eightgig.tiles.bands import Wanted
    from eightgig.tiles.source import open_source

    wanted = Wanted(bands=(3, 2, 1), black_white=(0, 1))
    with open_source(folder / "a.tif", max_pixels=MAX_PIXELS, wanted=wanted) as source:
        source.read(0, source.height)


def _image_datasets(folder: Path) -> None:
    _write_all(folder, "sheet.png", encoded(_image(), "PNG"))


def _read_image_dataset(folder: Path) -> None:
    from eightgig.datasets.media import ImageDataset

    dataset = ImageDataset(filepath=str(folder / "sheet.png"))
    dataset.load()
    dataset.preview()


_PNG_EDITS = {"*.png": either(byte_edits, part_edits("png"), part_edits("png")), "*": byte_edits}

READERS = [
    Reader("images.jpeg", _jpegs, _read_image, names_file=False),
    Reader("images.png", _pngs, _read_image, _PNG_EDITS, names_file=False),
    Reader("images.webp", _webps, _read_image, names_file=False),
    Reader("images.bmp", _bmps, _read_image, names_file=False),
    Reader("images.gif", _gifs, _read_image, names_file=False),
    Reader("masks.files", _masks, _read_mask, {"classes.csv": text_edits, **_PNG_EDITS}, names_file=False),
    Reader("masks.class_table", _tables, _read_table, {"*": text_edits}),
    Reader("tiles.source", _large_images, _read_rows, _PNG_EDITS),
    Reader("tiles.chosen", _chosen_tiffs, _read_chosen_rows),
    Reader("datasets.media", _image_datasets, _read_image_dataset, _PNG_EDITS, memory_mib=1024),
]
