"""Find a user's own function or class from its name, "package.module:name".

The working directory is appended to `sys.path`, never prepended: a file named
`torch.py` or `fl.py` in it must not replace the real package. What the code does
when it is imported or called is the user's own affair and is not caught here.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable

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
