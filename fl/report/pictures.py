"""Reconstructions beside their originals, as PNG data inside the page.

A PNG is written by hand (PNG specification, third edition, sections 5 and 11: an
8-bit grey or RGB image, filter 0, one IDAT chunk), because the page needs nothing
more and the same pixels must give the same bytes.

It does NOT run attacks, choose which records to show, or enlarge: the page scales
the pixels, unsmoothed.
"""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2  # PNG colour types
_ZLIB_LEVEL = 9


class GalleryError(ValueError):
    """A gallery that cannot be shown: the caller's fault."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gallery:
    """Records and what one attack made of them, in the same order.

    Args:
        title: what is shown, e.g. "Server, no protection".
        caption: one sentence on how to read it.
        originals: images, (H, W) or (H, W, 3), values in [0, 1].
        reconstructions: what the attack returned, shaped as the originals.
        null: what the same attack yields where there is nothing to find.
        psnr: dB of each reconstruction; None where it failed.
        labels: each record's label, shown below it.

    Raises:
        GalleryError: the lengths differ, or an image is empty, not finite, outside
            [0, 1] or of another shape.
    """

    title: str
    caption: str
    originals: tuple[Image, ...]
    reconstructions: tuple[Image, ...]
    null: tuple[Image, ...]
    psnr: tuple[float | None, ...]
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        rows = (self.originals, self.reconstructions, self.null, self.psnr, self.labels)
        lengths = [len(row) for row in rows]
        if len(set(lengths)) != 1 or lengths[0] == 0:
            raise GalleryError(
                f"gallery {self.title!r} has {lengths} originals, reconstructions, "
                "null images, psnr values and labels; give equally many, at least one."
            )
        for image in (*self.originals, *self.reconstructions, *self.null):
            _check_image(image)
        if any(value is not None and not np.isfinite(value) for value in self.psnr):
            raise GalleryError(
                f"gallery {self.title!r} has a psnr that is not finite; "
                "cap it, or give None where the attack failed."
            )


def png(image: Image) -> bytes:
    """Encode an image as PNG, the same bytes for the same pixels.

    Args:
        image: (H, W) grey or (H, W, 3) RGB, values in [0, 1].

    Returns:
        The file; each channel is round(255 * value).

    Raises:
        GalleryError: the image is empty, not finite, outside [0, 1] or misshapen.
    """
    _check_image(image)
    pixels = np.rint(np.asarray(image, dtype=np.float64) * 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    colour = _GREY if pixels.ndim == 2 else _RGB
    scanlines = b"".join(b"\x00" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return (
        _PNG_SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(scanlines, _ZLIB_LEVEL))
        + _chunk(b"IEND", b"")
    )


def data_uri(image: Image) -> str:
    """Encode an image as a `data:` URI that needs no network."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode("ascii")


def _chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def _check_image(image: Image) -> None:
    grey, rgb = image.ndim == 2, image.ndim == 3 and image.shape[-1] == 3
    if not (grey or rgb) or image.size == 0:
        raise GalleryError(
            f"an image has shape {image.shape}; give (H, W) or (H, W, 3), not empty."
        )
    if not np.isfinite(image).all() or image.min() < 0 or image.max() > 1:
        raise GalleryError(
            "an image has values outside [0, 1]; rescale or clip it before showing it."
        )
