"""Pages of the site that have their source elsewhere in the repository, and links from page to page."""

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# By page: its source. The others are the files beside this one.
ELSEWHERE = {
    "index.md": "README.md",
    "config.md": "config/README.md",
    "own.md": "CONTRIBUTING.md",
    "changes.md": "CHANGELOG.md",
}
PAGES = {source: page for page, source in ELSEWHERE.items()}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages whose source is elsewhere."""
    from mkdocs.structure.files import File

    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let links between files of the repository lead to their pages; those to what is not a page become plain."""
    name = page.file.src_uri
    source = Path(ELSEWHERE.get(name, f"docs/{name}"))

    def of_site(link: re.Match[str]) -> str:
        image, text, target, anchor = link[1], link[2], link[3], link[4] or ""
        path = os.path.normpath(source.parent / target)
        if path.startswith("docs/"):
            return f"{image}[{text}]({path.removeprefix('docs/')}{anchor})"
        if path in PAGES:
            return f"{image}[{text}]({PAGES[path]}{anchor})"
        if (ROOT / path).exists():
            return text if text.startswith("`") or "/" not in text else f"`{text}`"
        return link[0]  # which the strict build refuses

    return LINK.sub(of_site, markdown)
