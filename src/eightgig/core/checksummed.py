"""A file and the small text beside it that vouches for it, as one thing: a kill leaves the older pair or the newer one.

Two files cannot be replaced in one step. So the new text first waits beside the old one; then the file is replaced, and
then the text. Whoever reads takes the one of the two texts that fits the file.
"""

from pathlib import Path

from eightgig.core.files import write_bytes, write_text


def write_checksummed(path: Path, content: bytes, voucher: Path, text: str) -> None:
    """Write `content` to `path`, and to `voucher` the text that vouches for it (it must tell, such as by a hash)."""
    write_text(waiting_checksum(voucher), text)
    write_bytes(path, content)
    write_text(voucher, text)
    waiting_checksum(voucher).unlink(missing_ok=True)


def waiting_checksum(voucher: Path) -> Path:
    """Return where a voucher waits until its file is there."""
    return voucher.with_name(f".{voucher.name}.next")


def has_checksum(voucher: Path) -> bool:
    """Tell whether there is any text that may vouch for the file."""
    return voucher.is_file() or waiting_checksum(voucher).is_file()


def read_checksums(voucher: Path) -> list[str]:
    """Return the texts that may vouch for the file, the present one first.

    Raises:
        FileNotFoundError: there is none.
        UnicodeDecodeError: one is damaged.
    """
    found = [path for path in (voucher, waiting_checksum(voucher)) if path.is_file()]
    return [path.read_text(encoding="utf-8") for path in found or [voucher]]
