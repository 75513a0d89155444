"""The files of the program besides its code: templates, static files, migrations, the demo.

In a checkout these folders are beside the packages. In a wheel they are in the folder
``palimpsest``, because an environment is no place for folders called ``static`` or ``templates``.
"""

from pathlib import Path

_BESIDE_PACKAGES = Path(__file__).resolve().parents[1]
_WHEEL = _BESIDE_PACKAGES / "palimpsest"
_ROOT = _WHEEL if _WHEEL.is_dir() else _BESIDE_PACKAGES

TEMPLATES, STATIC, MIGRATIONS, DEMO = (
    _ROOT / name for name in ("templates", "static", "migrations", "demo")
)
