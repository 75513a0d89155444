"""The style sheet: the files of static/css as one, so that browsers ask once and keep it."""

import re
from functools import cache
from hashlib import sha256

from fastapi.responses import Response

from app.web.templates import environment
from models.shipped import STATIC

PATH = "/static/style.css"
_IMPORT = re.compile(r'@import "(.+?)" layer\((\w+)\);\n')


@cache
def stylesheet() -> str:
    """``static/css/style.css`` with each file that it imports in its place."""
    folder = STATIC / "css"

    def inlined(found: re.Match[str]) -> str:
        return f"@layer {found[2]} {{\n{(folder / found[1]).read_text()}}}\n"

    return _IMPORT.sub(inlined, (folder / "style.css").read_text())


@cache
def address() -> str:
    """Its address, which changes with its content, so browsers may cache it."""
    return f"{PATH}?{sha256(stylesheet().encode()).hexdigest()[:12]}"


environment.globals["stylesheet"] = address


async def style_sheet() -> Response:
    """The style sheet."""
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(stylesheet(), media_type="text/css", headers=headers)
