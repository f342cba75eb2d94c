"""How large a WebP says it is, before a decoder that makes room for all of it is asked.

Source: RFC 9649 (2024), WebP Image Format; RFC 6386 (2011), VP8, section 9.1.
"""

NUM_HEADER_BYTES = 30


def canvas_size(head: bytes) -> tuple[int, int] | None:
    """Give width and height by the first bytes of a file; None where they are those of no WebP."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < NUM_HEADER_BYTES:
        return None
    match head[12:16]:
        case b"VP8X":
            return _number(head[24:27]) + 1, _number(head[27:30]) + 1
        case b"VP8L":
            packed = _number(head[21:25])
            return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            return _number(head[26:28]) & 0x3FFF, _number(head[28:30]) & 0x3FFF
    return None


def _number(content: bytes) -> int:
    return int.from_bytes(content, "little")
