"""Says where the pages are that come with the package, or shows one: `python -m truemeter moving`."""

import argparse
import sys
from importlib.resources import files

PAGES = {
    "readme": ("README.md", "what it does, its options and its variables"),
    "moving": ("docs/moving.md", "old names and new ones, for who comes from another library"),
    "promises": ("docs/promises.md", "what stays as it is from version to version"),
}


def main() -> None:
    """Show a page, or the list of them."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description="Show a page of the documentation.")
    parser.add_argument("page", nargs="?", choices=PAGES, help="which; without one, all are listed")
    page: str | None = parser.parse_args().page
    if page is not None:
        sys.stdout.write(files(__package__).joinpath(PAGES[page][0]).read_text("utf-8"))
        return
    for name, (path, what) in PAGES.items():
        sys.stdout.write(f"{name:9} {what}\n          {files(__package__).joinpath(path)}\n")
    sys.stdout.write(f"A dashboard and alerts: python -m {__package__}.monitoring DIRECTORY\n")


if __name__ == "__main__":
    main()
