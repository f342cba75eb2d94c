"""Picture files, masks, and images that are read row by row."""

import io
from pathlib import Path
from typing import Any

from edits import byte_edits, either, text_edits
from harness import Reader
from parts import part_edits

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
    )


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
    )


def _comments() -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Comment", "long " * 40, zip=True)
    info.add_itxt("Title", "ünïcode", "de", "titel", zip=True)
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


def _read_picture(folder: Path) -> None:
    from eightgig.data.images import decode_rgb, inspect_image, is_plain_jpeg

    (path,) = folder.iterdir()
    inspect_image(path, max_pixels=MAX_PIXELS, min_side=1)
    decode_rgb(path.read_bytes(), max_pixels=MAX_PIXELS)
    is_plain_jpeg(path.read_bytes())


def _masks(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    labels = np.kron(np.array([[0, 1, 2], [9, 0, 1]], np.uint8), np.ones((8, 8), np.uint8))
    colours = np.array([[128, 64, 128], [70, 130, 180], [0, 0, 142]], np.uint8)[labels % 3]
    palette = Image.fromarray(colours).quantize(3, dither=Image.Dither.NONE)
    grey, deep = Image.fromarray(labels), Image.fromarray(labels.astype(np.uint16))
    for number, (name, content) in enumerate(
        [
            ("m.png", encoded(grey, "PNG")),
            ("m.png", encoded(deep, "PNG")),
            ("m.png", encoded(colours, "PNG")),
            ("m.png", encoded(palette, "PNG")),
            ("m.bmp", encoded(grey, "BMP")),
            ("m.tif", encoded(grey, "TIFF")),
        ]
    ):
        put(folder / str(number) / name, content)
        put(folder / str(number) / "classes.csv", _TABLE)


def _read_mask(folder: Path) -> None:
    from eightgig.data.segmentation.class_table import read_table
    from eightgig.data.segmentation.mask_files import read_mask

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
    from eightgig.data.segmentation.class_table import find_table

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


def _read_rows(folder: Path) -> None:
    from eightgig.tiles.source import open_source

    (path,) = folder.iterdir()
    with open_source(path, max_pixels=MAX_PIXELS) as source:
        for top in range(0, source.height, 100):
            source.read(top, min(top + 100, source.height))


def _picture_datasets(folder: Path) -> None:
    _write_all(folder, "sheet.png", encoded(_image(), "PNG"))


def _read_picture_dataset(folder: Path) -> None:
    from eightgig.datasets.picture import PictureDataset

    dataset = PictureDataset(filepath=str(folder / "sheet.png"))
    dataset.load()
    dataset.preview()


_PNG_EDITS = {"*.png": either(byte_edits, part_edits("png"), part_edits("png")), "*": byte_edits}

READERS = [
    Reader("pictures.jpeg", _jpegs, _read_picture, names_file=False),
    Reader("pictures.png", _pngs, _read_picture, _PNG_EDITS, names_file=False),
    Reader("pictures.webp", _webps, _read_picture, names_file=False),
    Reader("pictures.bmp", _bmps, _read_picture, names_file=False),
    Reader("pictures.gif", _gifs, _read_picture, names_file=False),
    Reader("masks.files", _masks, _read_mask, {"classes.csv": text_edits, **_PNG_EDITS}, names_file=False),
    Reader("masks.class_table", _tables, _read_table, {"*": text_edits}),
    Reader("tiles.source", _large_images, _read_rows, _PNG_EDITS),
    Reader("datasets.picture", _picture_datasets, _read_picture_dataset, _PNG_EDITS, memory_mib=1024),
]
