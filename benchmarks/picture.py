"""The picture of the front page: the beginning of a report, as a browser shows it.

`python -m benchmarks.picture runs/quickstart/glyphs` (needs the extra `dev`, and Chromium).
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from plora.results.report.html import write_report

PICTURE = Path(__file__).parent.parent / "docs" / "assets" / "report.png"
WIDTH, HEIGHT = 1240, 1330


def main() -> None:
    browser_path = shutil.which("chromium")
    if browser_path is None:
        sys.exit("there is no Chromium on this machine; install it, or leave the picture as it is")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = Path(folder) / "report.html"
        write_report([Path(name) for name in sys.argv[1:]], page_file)
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(page_file.as_uri())
        shot = page.screenshot()
        browser.close()
    Image.open(io.BytesIO(shot)).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(PICTURE, optimize=True)
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
