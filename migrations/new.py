"""Write a new migration: what brings the newest migration's tables to those of ``models``.

Needs no database: it starts one in a temporary folder. Run it from the root of the repository,
then read what it wrote:

    python -m migrations.new "Latents have names"
"""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from alembic import command
from alembic.script import ScriptDirectory

from cli.servers import alembic_config, embedded_servers


def main(message: str) -> None:
    with TemporaryDirectory() as folder, embedded_servers(Path(folder)) as servers:
        config = alembic_config(servers.database_url)
        number = len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1
        command.upgrade(config, "head")
        command.revision(config, message, autogenerate=True, rev_id=f"{number:04d}")
    subprocess.run(["ruff", "format", "--quiet", "migrations"], check=True)
    subprocess.run(["ruff", "check", "--fix", "migrations"], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
