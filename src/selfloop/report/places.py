"""Where the page's parts that are no Python lie."""

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
CAPTIONS = Path(__file__).parent / "captions"
