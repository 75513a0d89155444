"""Every setting of the program, in one typed place. Each is an environment variable."""

import os
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _split(value: Any) -> Any:
    """Names with commas between them."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _pairs(value: Any) -> Any:
    """``group=role`` with commas between them. A name of a group may have the sign itself."""
    if not isinstance(value, str):
        return value
    return tuple(
        tuple(part.strip() for part in pair.rpartition("=")[::2]) for pair in _split(value)
    )


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
RoleName = Literal["reader", "editor", "admin"]
GroupRoles = Annotated[tuple[tuple[str, RoleName], ...], NoDecode, BeforeValidator(_pairs)]


class Settings(BaseSettings):
    """Read from the environment, and from a file ``.env`` in the working directory."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")

    home: Path = Field(default=Path("~/.palimpsest"), alias="PALIMPSEST_HOME")
    """Data folder: embedded servers, fetched models, collected activations. Web and workers on
    several machines share it."""

    database_url: str | None = Field(default=None, alias="DATABASE_URL")
    """PostgreSQL, as ``postgresql://user:password@host/name``. Unset: an embedded server."""

    redis_url: str | None = Field(default=None, alias="REDIS_URL")
    """Redis or Valkey, as ``redis://host:6379/0``. Unset: an embedded server."""

    host: str = Field(default="127.0.0.1", alias="PALIMPSEST_HOST")
    """Address the web server listens on."""

    port: int = Field(default=8000, ge=0, le=65535, alias="PALIMPSEST_PORT")
    """Port the web server listens on; 0 takes any free one."""

    hosts: Names = Field(default=(), alias="PALIMPSEST_HOSTS")
    """Names of this server, as people type them: with commas, and with the port if it is not the
    usual one. It answers to these, to IP addresses and to localhost; ``*`` stands for any name."""

    servers: Names = Field(default=(), alias="PALIMPSEST_SERVERS")
    """While accounts are on: servers of language models that people may name besides
    ``OPENAI_BASE_URL``, with commas. A server is its scheme, host and port."""

    folders: Names = Field(default=(), alias="PALIMPSEST_FOLDERS")
    """While accounts are on: folders with the models, coders, simulators and texts that people may
    name, with commas. The data folder's models and coders, and the demo, are always among them."""

    accounts: bool = Field(default=False, alias="PALIMPSEST_ACCOUNTS")
    """When true, people sign in (`palimpsest user add`), and programs send tokens."""

    public: bool = Field(default=False, alias="PALIMPSEST_PUBLIC")
    """While accounts are on: whoever has not signed in may look, and change nothing."""

    idle_hours: float = Field(default=72.0, gt=0, le=24 * 365, alias="PALIMPSEST_IDLE_HOURS")
    """While accounts are on: hours without a request after which a session ends."""

    oidc_issuer: str | None = Field(default=None, alias="PALIMPSEST_OIDC_ISSUER")
    """While accounts are on: the OpenID provider at which people may sign in, by its address."""

    oidc_client_id: str | None = Field(
        default=None, alias="PALIMPSEST_OIDC_CLIENT_ID", validate_default=True
    )
    """The name that the provider knows this server by."""

    oidc_client_secret: str | None = Field(default=None, alias="PALIMPSEST_OIDC_CLIENT_SECRET")
    """The secret that goes with it. Unset: this server is a public client."""

    oidc_newcomers: RoleName | Literal["none"] = Field(
        default="reader", alias="PALIMPSEST_OIDC_NEWCOMERS"
    )
    """The role of who comes from the provider and is in no group with a role. ``none``: they are
    refused."""

    oidc_roles: GroupRoles = Field(default=(), alias="PALIMPSEST_OIDC_ROLES")
    """The roles of the provider's groups, as ``group=role`` with commas. Where there are any, the
    provider gives people their roles, anew at each sign-in."""

    oidc_claim: str = Field(default="groups", min_length=1, alias="PALIMPSEST_OIDC_CLAIM")
    """The claim that names the groups of somebody."""

    oidc_domains: Names = Field(default=(), alias="PALIMPSEST_OIDC_DOMAINS")
    """Domains of e-mail addresses, with commas: the provider's people with an address elsewhere, or
    with none that it has checked, are refused. Unset: all are let in."""

    user: str = Field(default="local", alias="PALIMPSEST_USER")
    """Who signs edits while accounts are off."""

    chunk_seconds: float = Field(default=20.0, gt=0, alias="PALIMPSEST_CHUNK_SECONDS")
    """How long the turn of a job lasts while others wait, in seconds."""

    device_map: Literal["auto", "balanced", "balanced_low_0", "sequential"] | None = Field(
        default=None, alias="PALIMPSEST_DEVICE_MAP"
    )
    """How the layers of a model are divided among the GPUs of a worker, as Accelerate names it.
    Unset: a model is on one GPU."""

    @field_validator("oidc_issuer")
    @classmethod
    def _over_tls(cls, issuer: str | None) -> str | None:
        """What the provider says of people must not be changed on the way."""
        if issuer is None:
            return None
        address = urlsplit(issuer)
        secure = address.scheme == "https" or (
            address.scheme == "http" and _is_here(address.hostname)
        )
        if not secure or not address.hostname or address.query or address.fragment:
            raise ValueError(
                "Name the provider by its https address, such as https://login.example."
            )
        return issuer

    @field_validator("oidc_client_id")
    @classmethod
    def _goes_with_the_issuer(cls, client_id: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("oidc_issuer") is None:
            return client_id
        if not client_id:
            raise ValueError("PALIMPSEST_OIDC_ISSUER needs PALIMPSEST_OIDC_CLIENT_ID too.")
        if not info.data.get("accounts"):
            raise ValueError("Set PALIMPSEST_ACCOUNTS=true too, or unset PALIMPSEST_OIDC_ISSUER.")
        return client_id

    @property
    def data(self) -> Path:
        """The data folder, as an absolute path."""
        return self.home.expanduser().resolve()

    def activations(self, study_id: int, set_name: str) -> Path:
        """The folder of a study's activations on one set of contexts."""
        return self.study_files(study_id) / set_name

    def study_files(self, study_id: int) -> Path:
        """The folder of all files of a study: activations and imports."""
        return self.data / "studies" / str(study_id)

    def model_source(self, model: str) -> str:
        """The source to load a model from: a fetched one goes by its name alone."""
        fetched = model_folder(self.data, model)
        # Not Path.is_dir, which raises where a name is too long for the disk.
        return str(fetched) if os.path.isdir(fetched) else model


def _is_here(host: str | None) -> bool:
    """True if a name is this machine's own."""
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def model_folder(data: Path, name: str) -> Path:
    """The folder of a model that `palimpsest fetch` got."""
    return data / "models" / name


@cache
def get_settings() -> Settings:
    """The settings of this process."""
    return Settings()
