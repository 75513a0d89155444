"""The OpenID provider of a group: who it says that somebody is.

This is the authorization code flow with PKCE, as authlib does it. The provider is asked for nothing
before somebody wants to sign in there, and each question has a time limit.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from anyio import fail_after
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.starlette_client import StarletteOAuth2App
from httpx2 import HTTPError, InvalidURL
from joserfc.errors import JoseError

from app.web.places import Places
from models.settings import get_settings

log = logging.getLogger(__name__)

SECONDS = 10
"""The longest wait for one answer of the provider."""
ALL_SECONDS = 20
"""The longest wait for all of them that a sign-in needs."""
ASKING = Places(8, "Many people sign in at once. Try again in a few seconds.", waiting=50)
SIGNED_BY = frozenset(
    f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)
) | {"EdDSA", "Ed25519"}
"""Signatures that only the provider can make. It may list others, and ``none``."""
LEEWAY = 60
"""Seconds by which its clock may be off."""


class ProviderError(Exception):
    """Nobody was signed in, by the provider's fault. The message is for who wanted to."""


class AuthorizationRequest(NamedTuple):
    """An authorization request: what a browser takes to the provider, and what is kept of it."""

    url: str
    state: str
    """Comes back with the browser, which shows that it set out from here."""
    nonce: str
    """Comes back in the ID token, which shows that it was made for this sign-in."""
    code_verifier: str
    """Goes with the code, which is of no use without it (PKCE)."""


class Claims(NamedTuple):
    """What the provider says of somebody."""

    issuer: str
    claims: dict[str, Any]


def provider_name() -> str:
    """The provider, as pages name it: its host."""
    return urlsplit(get_settings().oidc_issuer or "").netloc


async def begin(redirect_uri: str) -> AuthorizationRequest:
    """Begin a sign-in at the provider.

    Args:
        redirect_uri: Our page to which it sends the browser back.

    Raises:
        ProviderError: It cannot be reached, or is none.
        Busy: Too many people sign in.
    """
    async with _asking() as provider:
        known = provider.server_metadata.get("scopes_supported", ())
        # Some send the groups only if asked to, and some refuse a scope that they do not know.
        scopes = ["openid", "profile", "email"]
        scopes += [claim for claim in [get_settings().oidc_claim] if claim in known]
        begun = await provider.create_authorization_url(redirect_uri, scope=" ".join(scopes))
        return AuthorizationRequest(**begun)


async def claims_of(code: str, asked: AuthorizationRequest, redirect_uri: str) -> Claims:
    """What the provider says of the person that it gave a code for.

    Raises:
        ProviderError: It cannot be reached, takes the code for no good one, or what it says is not
            signed, or not for this sign-in.
        Busy: Too many people sign in.
    """
    settings = get_settings()
    async with _asking() as provider:
        token = await provider.fetch_access_token(
            redirect_uri, code=code, code_verifier=asked.code_verifier
        )
        issuer = provider.server_metadata["issuer"]
        claims = await provider.parse_id_token(
            token,
            asked.nonce,
            claims_options={
                "iss": {"essential": True, "value": issuer},
                "aud": {"essential": True, "value": settings.oidc_client_id},
                "sub": {"essential": True},
            },
            leeway=LEEWAY,
        )
        if claims is None:
            raise ValueError("The answer has no ID token.")
        if provider.server_metadata.get("userinfo_endpoint"):
            # Some send names and groups only from there.
            more = await provider.userinfo(token=token)
            if more.get("sub") != claims["sub"]:
                raise ValueError("The user info is about somebody else than the ID token.")
            claims = {**more, **claims}
        return Claims(issuer, dict(claims))


@asynccontextmanager
async def _asking() -> AsyncIterator[StarletteOAuth2App]:
    """The provider, found and looked at, with a place among those who ask it."""
    try:
        async with ASKING.one():
            with fail_after(ALL_SECONDS):
                provider = _provider()
                await _look_at(provider)
                yield provider
    except (HTTPError, TimeoutError) as error:
        log.warning("The OpenID provider cannot be asked: %r", error)
        raise ProviderError(
            f"{provider_name()} cannot be reached, or does not answer. Try again in a minute."
        ) from None
    except (
        AuthlibBaseError,
        JoseError,
        InvalidURL,
        RuntimeError,  # authlib's, for what the provider does not name
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:
        # What another program answers may be anything. What it said of itself may have changed.
        _provider.cache_clear()
        log.warning("A sign-in at the OpenID provider failed: %r", error, exc_info=True)
        raise ProviderError(
            f"The sign-in at {provider_name()} failed. Begin again. If it fails again, the log of "
            "this server says why."
        ) from None


@cache
def _provider() -> StarletteOAuth2App:
    settings = get_settings()
    issuer = (settings.oidc_issuer or "").rstrip("/")
    return StarletteOAuth2App(
        None,
        name="provider",
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret,
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={"code_challenge_method": "S256", "timeout": SECONDS},
    )


async def _look_at(provider: StarletteOAuth2App) -> None:
    """Have its endpoints and keys at hand, as it describes itself. It is asked for that once.

    Raises:
        ValueError: It is another one than the settings name.
    """
    found = await provider.load_server_metadata()
    issuer = str(found.get("issuer"))
    if issuer.rstrip("/") != (get_settings().oidc_issuer or "").rstrip("/"):
        raise ValueError(f"PALIMPSEST_OIDC_ISSUER is the address of {issuer}, by its own words.")
    listed = found.get("id_token_signing_alg_values_supported", ())
    found["id_token_signing_alg_values_supported"] = [one for one in listed if one in SIGNED_BY]
