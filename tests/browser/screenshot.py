"""The top of a page as a picture: python tests/browser/screenshot.py PAGE TARGET.

It ends with the first chart and its table, above any grid of samples, so that no picture of a data set is in it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from chromium import chromium

WIDTH = 1240


def main(page: str, target: str) -> None:
    with chromium() as browser:
        browser.open(Path(page), WIDTH)
        bottom = browser.evaluate(
            "document.querySelector('main section .verdicts').getBoundingClientRect().bottom + scrollY + 20"
        )
        browser.picture(Path(target), {"x": 0, "y": 0, "width": WIDTH, "height": bottom})


if __name__ == "__main__":
    main(*sys.argv[1:])
