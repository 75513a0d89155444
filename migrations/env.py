"""What Alembic runs: on the database it is given, or else on DATABASE_URL."""

from alembic import context
from sqlalchemy import create_engine, make_url

from models import Base
from models.settings import get_settings

url = context.config.attributes.get("database_url") or get_settings().database_url
if url is None:
    raise SystemExit("DATABASE_URL is not set.")

engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        # Web and workers may start at the same time: one migrates, the others wait.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7261746)")
        context.run_migrations()
engine.dispose()
