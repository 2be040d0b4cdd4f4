"""Read and write `.npz` files that hold plain numbers and nothing else.

An `.npz` file is a zip of NumPy arrays. Here every member must be stored uncompressed
and say a shape and a number type that are exactly as many bytes as it holds, so that a
file can never ask for more memory than its own size, and nothing in it is ever run.

Format: NumPy's NEP 1 (`numpy.lib.format`), versions 1.0 and 2.0.
"""

import math
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from attacks.errors import ObservationError

Array = NDArray[Any]

_KINDS = "fiub"  # float, int, unsigned, bool: no objects, no text, no records
_WIDEST = 8  # bytes; torch takes no longer floats
# What zipfile is known to raise for damaged or encrypted files.
_BROKEN = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
)
_MEMBERS_AT_MOST = 1 << 16
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays into a new file that only its owner can read (mode 0600).

    Raises:
        ObservationError: the file exists or cannot be written (caller).
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ObservationError(
            f"{path} cannot be written ({error.strerror}); give a new file in a "
            "folder that exists."
        ) from error
    with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as members:
        for name, array in arrays.items():
            with members.open(f"{name}.npy", "w", force_zip64=True) as member:
                npy.write_array(member, np.asarray(array), allow_pickle=False)


def read(path: Path) -> dict[str, Array]:
    """Read every array of a file.

    Guarantee: all sizes are checked before any of them is allocated; together the
    arrays are no larger than the file.

    Raises:
        ObservationError: the file cannot be read, or is no such file (caller).
    """
    try:
        with zipfile.ZipFile(path) as members:
            listed = members.infolist()
            _check_listing(path, listed)
            return {_name(one): _member(path, members, one) for one in listed}
    except ObservationError:
        raise
    except OSError as error:
        raise ObservationError(
            f"{path} cannot be read ({error.strerror or error}); give the file of a "
            "saved observation."
        ) from error
    except _BROKEN as error:
        raise ObservationError(
            f"{path} is not an intact .npz file ({error or 'it is cut off'}); save it "
            "again."
        ) from error


def _name(member: zipfile.ZipInfo) -> str:
    return member.filename.removesuffix(".npy")


def _check_listing(path: Path, listed: list[zipfile.ZipInfo]) -> None:
    names = [one.filename for one in listed]
    if len(names) > _MEMBERS_AT_MOST or len(set(names)) != len(names):
        raise ObservationError(
            f"{path} holds {len(names)} arrays, too many or some of them twice; write "
            "each tensor once."
        )
    for one in listed:
        if one.compress_type != zipfile.ZIP_STORED or not one.filename.endswith(".npy"):
            raise ObservationError(
                f"{path}: {one.filename} is not an uncompressed array; write the file "
                "with numpy.savez, not savez_compressed."
            )
    # Members that share bytes could add up to more than the file.
    if sum(one.file_size for one in listed) > path.stat().st_size:
        raise ObservationError(
            f"{path} claims more bytes than it has; it is damaged or was made to do "
            "harm."
        )


def _member(path: Path, members: zipfile.ZipFile, one: zipfile.ZipInfo) -> Array:
    with members.open(one) as file:
        shape, fortran, dtype = _header(path, file, one)
        left = one.file_size - file.tell()
        wanted = math.prod(shape) * dtype.itemsize
        if dtype.kind not in _KINDS or dtype.itemsize > _WIDEST or wanted != left:
            raise ObservationError(
                f"{path}: {_name(one)} says shape {shape} of {dtype}, {wanted} bytes, "
                f"and holds {left}; write plain numbers with numpy.savez."
            )
        raw = file.read(left)
    if dtype.kind == "b":  # a byte other than 0 and 1 must not become a bool as it is
        data: Array = np.frombuffer(raw, dtype=np.uint8) != 0
    else:
        data = np.frombuffer(raw, dtype=dtype)
    ordered = data.reshape(shape, order="F" if fortran else "C")
    return np.array(ordered, dtype=dtype.newbyteorder("="), order="C")


def _header(
    path: Path, file: IO[bytes], one: zipfile.ZipInfo
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        read_header = _HEADERS[npy.read_magic(file)]
        shape, fortran, dtype = read_header(file)
    except (ValueError, KeyError, TypeError, SyntaxError) as error:
        raise ObservationError(
            f"{path}: {_name(one)} is not an array of NumPy's formats 1.0 or 2.0; "
            "write the file with numpy.savez."
        ) from error
    if any(size < 0 for size in shape):
        raise ObservationError(f"{path}: {_name(one)} has a negative size.")
    return shape, fortran, dtype
