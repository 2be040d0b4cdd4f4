"""Find a user's own function or class from its name, "package.module:name".

The working directory is appended to `sys.path`, never prepended: a file named
`torch.py` or `fl.py` in it must not replace the real package. What it raises becomes
one sentence that names the user's own file and line.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fl.errors import UserError

USER_CODE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def find(spec: str, *, key: str, fault: type[UserError]) -> Callable[..., object]:
    """Import and return the function or class that `spec` names.

    Args:
        spec: "package.module:name".
        key: the configuration key that holds it, for the error's text.
        fault: the error class to raise.

    Raises:
        UserError: `fault`, if the module or the name is missing, or is not callable.
    """
    module_name, _, name = spec.partition(":")
    if not USER_CODE.fullmatch(spec):
        raise fault(f'{key} = "{spec}" is not of the form "package.module:name".')
    cwd = os.getcwd()
    if cwd not in sys.path:
        sys.path.append(cwd)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise fault(
            f'{key} = "{spec}": no module named "{error.name}"; run the command in '
            f"the folder that holds it, or install it."
        ) from error
    except (ImportError, SyntaxError) as error:
        raise fault(f'{key} = "{spec}" cannot be imported: {error}.') from error
    found: object = getattr(module, name, None)
    if not callable(found):
        raise fault(
            f'{key} = "{spec}": {module_name} has no function or class "{name}"; '
            f"check the name after the colon."
        )
    return found


@contextmanager
def running(
    spec: str,
    *,
    key: str,
    fault: type[UserError],
    let: tuple[type[Exception], ...] = (),
) -> Iterator[None]:
    """Turn whatever the user's code raises inside into one sentence.

    Args:
        spec: "package.module:name", for the error's text.
        key: the configuration key that holds it.
        fault: the error class to raise.
        let: errors that the caller understands and handles.

    Raises:
        UserError: `fault`, from the user's own error.
    """
    try:
        yield
    except UserError:
        raise
    except let:
        raise
    except Exception as error:  # somebody else's code may raise anything
        last = traceback.extract_tb(error.__traceback__)[-1]
        said = str(error).strip().splitlines()
        raise fault(
            f'{key} = "{spec}" raised {type(error).__name__} in {last.filename}, line '
            f"{last.lineno}{': ' + said[0] if said else ''}; correct it there."
        ) from error
