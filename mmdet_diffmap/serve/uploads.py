# Copyright (c) mmdet_diffmap authors. Licensed under Apache-2.0.
"""What comes from outside: a photograph's file and its name."""
from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

#: The kinds of files that are taken; Pillow knows others that run programs.
FORMATS = ('BMP', 'JPEG', 'PNG', 'PPM', 'TIFF', 'WEBP')
LONGEST_NAME = 200


class RefusedError(Exception):
    """A request is not answered as it asks.

    Args:
        status (int): Of HTTP.
        reason (str): Why, in one sentence.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Limits:
    """How much is taken.

    Args:
        upload (int): Bytes of a file.
        pixels (int): Of a photograph.
        upload_seconds (float): In which a file must have arrived.
        photos (int): Photographs that are kept.
        places (int): Explanations that wait and run.
        seconds (float): For which an explanation may run.
        connections (int): Open at a time.
    """
    upload: int = 20_000_000
    pixels: int = 50_000_000
    upload_seconds: float = 60
    photos: int = 50
    places: int = 8
    seconds: float = 600
    connections: int = 64


async def read_upload(chunks: AsyncIterator[bytes], announced: str | None,
                      limits: Limits) -> bytes:
    """Read a file as it arrives.

    Args:
        chunks (AsyncIterator): Its parts.
        announced (str, optional): How many bytes the client says that it has.
        limits (Limits): How many it may have, and how long it may take.

    Raises:
        RefusedError: If it is too large or too slow.
    """
    too_large = RefusedError(
        413, f'the file has more than {limits.upload / 1e6:g} MB, which is '
        'the most that is taken (--max-upload)')
    if announced is not None and int(announced) > limits.upload:
        raise too_large

    async def read() -> bytes:
        content = bytearray()
        async for chunk in chunks:
            content += chunk
            if len(content) > limits.upload:
                raise too_large
        return bytes(content)

    try:
        return await asyncio.wait_for(read(), limits.upload_seconds)
    except asyncio.TimeoutError as error:
        raise RefusedError(
            408, 'the file did not arrive within '
            f'{limits.upload_seconds:g} s') from error


def check_picture(content: bytes, limits: Limits) -> None:
    """Raise a RefusedError unless a file says that it is an image of not too
    many pixels. Nothing of it is decoded."""
    if not content:
        raise RefusedError(415, 'the file is empty')
    too_many = RefusedError(
        413, f'the image has more than {limits.pixels / 1e6:g} million '
        'pixels, which is the most that is taken (--max-megapixels)')
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise too_many from error
    except UnidentifiedImageError as error:
        raise RefusedError(415, 'the file is no image of a known kind: '
                           f'{", ".join(FORMATS)}') from error
    except Exception as error:  # a damaged header fails in any way
        raise RefusedError(415, 'the image is damaged') from error
    if width * height > limits.pixels:
        raise too_many


def plain_name(name: str) -> str:
    """Return what a photograph is called, for people to read: of a path its
    last part, and nothing that cannot be seen.

    >>> plain_name('../../etc/passwd')
    'passwd'
    """
    last = name.replace('\\', '/').rstrip('/').rpartition('/')[2]
    seen = ''.join(char for char in last if char.isprintable()).strip(' .')
    return seen[-LONGEST_NAME:] or 'photograph'
