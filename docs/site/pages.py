"""Hooks of the documentation site: the repository's own Markdown pages, where they lie, so that their links hold.

Knows nothing about what the pages say.
"""

import logging
import re
import subprocess
from pathlib import Path
from posixpath import dirname, join, normpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
LOG = logging.getLogger("mkdocs.hooks.pages")  # below mkdocs, which counts warnings
SHOWN = ("*.md", "*.png", "docs/site/*.css")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Every page and picture that git knows or would take, in place of those of one folder."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *SHOWN],
        cwd=ROOT, capture_output=True, check=True, text=True,
    )  # fmt: skip
    names = sorted({name for name in listed.stdout.splitlines() if (ROOT / name).is_file()})
    theme = [file for file in files if file.src_dir != config.docs_dir]
    return Files([*theme, *(File(name, str(ROOT), config.site_dir, config.use_directory_urls) for name in names)])


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> None:
    """Warn, which ends a strict build, of pages in docs/ that no menu leads to."""
    for file in files.documentation_pages():
        if file.src_uri.startswith("docs/") and file.page not in nav.pages:
            LOG.warning("%s stands in no menu; add it to nav in docs/site/mkdocs.yml", file.src_uri)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to folders lead to their README, links to code become plain text; the site holds pages alone."""
    here = dirname(page.file.src_uri)

    def follow(match: re.Match[str]) -> str:
        text, target = match.groups()
        name = normpath(join(here, target.split("#")[0]))
        if ":" in target or target.startswith("#") or files.get_file_from_path(name) or not (ROOT / name).exists():
            return match.group()
        if files.get_file_from_path(join(name, "README.md")):
            return f"[{text}]({target.rstrip('/')}/README.md)"
        return text

    return LINK.sub(follow, markdown)
