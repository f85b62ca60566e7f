"""Text without markup: of HTML pages, and of files as they are."""

import re
from html.parser import HTMLParser

# Where a paragraph ends.
_BLOCKS = frozenset(
    (
        *("p", "div", "section", "article", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ul", "ol"),
        *("dl", "dt", "dd", "pre", "table", "tr", "blockquote", "br", "hr", "figure", "figcaption"),
    )
)
_SKIPPED = frozenset(("script", "style", "head", "nav", "footer", "svg", "button"))
# Navigation of Sphinx and of Publican, and the signs that link to a heading.
_SKIPPED_CLASSES = frozenset(
    ("docnav", "sphinxsidebar", "related", "headerlink", "toc", "toctree-wrapper", "footer")
)
_VOID = frozenset(("br", "hr", "img", "input", "link", "meta", "col", "wbr", "area", "source"))


def text_of_html(page: str) -> str:
    """What a reader sees: paragraphs that an empty line parts, code with its own line ends."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    return parser.text()


def _is_navigation(attributes: dict[str, str | None]) -> bool:
    classes = (attributes.get("class") or "").split()
    if attributes.get("role") == "navigation" or attributes.get("id") == "banner":
        return True
    return not _SKIPPED_CLASSES.isdisjoint(classes)


class _Parser(HTMLParser):
    """Collects paragraphs; remembers what it is inside of."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._paragraphs: list[str] = []
        self._said: list[str] = []
        self._code = 0
        # Depth within an element that is skipped, with those of all kinds that it holds.
        self._skipping = 0

    def text(self) -> str:
        self._end_paragraph()
        return "\n\n".join(self._paragraphs)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            self._break(tag)
            return
        if self._skipping or tag in _SKIPPED or _is_navigation(dict(attrs)):
            self._skipping += 1
            return
        self._break(tag)
        self._code += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if self._skipping:
            self._skipping -= 1
            return
        self._break(tag)
        self._code -= tag == "pre" and self._code > 0

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self._said.append(data)

    def _break(self, tag: str) -> None:
        if tag in _BLOCKS and not self._skipping:
            self._end_paragraph()

    def _end_paragraph(self) -> None:
        said = "".join(self._said)
        self._said.clear()
        text = said.strip("\n").rstrip() if self._code else re.sub(r"\s+", " ", said).strip()
        if text.strip():
            self._paragraphs.append(text)
