"""The page as PDF, printed by a headless Chromium that is already installed.

Nothing is fetched: the page holds all that it shows, and the browser runs with a
profile of its own that is thrown away. The PDF appears whole or not at all.

It does NOT render anything itself, and installs no browser.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from fl.errors import UserError

BROWSER_VARIABLE = "BLINDSUM_CHROMIUM"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_S = 120.0
_ARGUMENTS = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-pdf-header-footer",
)
_PUBLIC_MODE = 0o644
_SIGNATURE = b"%PDF-"


class PdfError(UserError):
    """No browser, no page, or a browser that did not print it."""


def print_page(folder: Path, *, timeout_s: float = TIMEOUT_S) -> Path:
    """Print a run's `report.html` to `report.pdf` beside it.

    Args:
        folder: of the run; an older report.pdf in it is replaced.
        timeout_s: after so many seconds the browser is stopped.

    Returns:
        The PDF's path.

    Raises:
        PdfError: the user's machine; the sentence says what is missing.
    """
    page, target = folder / "report.html", folder / "report.pdf"
    if not page.is_file():
        raise PdfError(f"{page} does not exist; give the folder of a finished audit.")
    browser = find_browser()
    try:
        # Beside the page, so that the last step is a rename and a browser that is
        # confined to the user's folders can write here.
        with tempfile.TemporaryDirectory(
            prefix=".report-pdf-", dir=folder, ignore_cleanup_errors=True
        ) as scratch:
            printed = Path(scratch) / "report.pdf"
            _run(_command(browser, page, printed, Path(scratch)), browser, timeout_s)
            if not printed.is_file() or not _is_pdf(printed):
                raise PdfError(f"{browser} printed nothing from {page}; try another.")
            printed.chmod(_PUBLIC_MODE)
            printed.replace(target)
    except OSError as error:
        raise PdfError(
            f"cannot print {page} ({error.strerror or error}); free the folder, or "
            f"name a working browser in {BROWSER_VARIABLE}."
        ) from error
    return target


def find_browser() -> str:
    """Return the browser named by BLINDSUM_CHROMIUM, or the first that is installed.

    Raises:
        PdfError: there is none, or the named one cannot be run.
    """
    named = os.environ.get(BROWSER_VARIABLE)
    if named:
        found = shutil.which(named)
        if found is None:
            raise PdfError(
                f"{BROWSER_VARIABLE}={named} is no program that can be run; correct it."
            )
        return found
    for name in BROWSERS:
        found = shutil.which(name)
        if found is not None:
            return found
    raise PdfError(
        f"no browser for --pdf was found (looked for {', '.join(BROWSERS)}); install "
        f"Chromium, or name one in {BROWSER_VARIABLE}."
    )


def _command(browser: str, page: Path, printed: Path, scratch: Path) -> list[str]:
    # Chromium refuses to run its sandbox as root, as in most containers.
    confined = [] if os.geteuid() else ["--no-sandbox"]
    return [
        browser,
        *_ARGUMENTS,
        *confined,
        f"--user-data-dir={scratch / 'profile'}",
        f"--print-to-pdf={printed}",
        page.resolve().as_uri(),
    ]


def _run(command: list[str], browser: str, timeout_s: float) -> None:
    """Run the browser and stop all of it, helpers included, when it takes too long."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        status = process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        _stop(process)
        raise PdfError(
            f"{browser} did not print the page within {timeout_s:g} s and was stopped; "
            f"try again, or name another browser in {BROWSER_VARIABLE}."
        ) from error
    except BaseException:
        _stop(process)
        raise
    if status != 0:
        raise PdfError(
            f"{browser} ended with status {status} and printed nothing; name another "
            f"browser in {BROWSER_VARIABLE}."
        )


def _stop(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _is_pdf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE
