"""Requests to a server that speaks OpenAI's protocol: its key, retries, and its manner."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import openai

from interp.errors import InputError
from interp.llm import manner
from interp.llm.manner import Manner
from interp.llm.servers import default_address, gets_key

Found = TypeVar("Found")


class Failure(NamedTuple):
    """Why a request has no answer, after all retries."""

    why: str


@dataclass
class Connection:
    """A model on a server, and the known spelling of requests to it.

    The key comes from ``OPENAI_API_KEY`` and is kept nowhere. It goes only to the server that
    ``OPENAI_BASE_URL`` names, or OpenAI's without it.
    """

    model: str
    base_url: str | None = None
    """Such as ``http://localhost:8000/v1``. None: ``OPENAI_BASE_URL``, or OpenAI itself."""
    timeout: float = 120.0
    """Seconds to wait for one answer."""
    retries: int = 5
    """Of a request that was not answered, or with 408, 409, 429 or 5xx: after the time that the
    server asks for (Retry-After), or after a time that doubles."""
    concurrency: int = 16
    """Requests under way at once."""
    _manner: Manner = field(default=Manner(), init=False, repr=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False)

    def served(self) -> list[str]:
        """The models that the server says it has.

        Raises:
            InputError: It does not answer, or refuses the key.
        """
        try:
            reply: Any = self._client.with_options(max_retries=1).get("/models", cast_to=object)
            return [str(model["id"]) for model in reply["data"]]
        except openai.AuthenticationError:
            raise self._refused() from None
        except openai.APIConnectionError as error:
            raise InputError(
                f"No server answers at {self._client.base_url} ({error}). Start it, or mend "
                "OPENAI_BASE_URL."
            ) from None
        except (openai.APIError, LookupError, TypeError, ValueError):
            return []  # not every server lists them

    @cached_property
    def _client(self) -> openai.OpenAI:
        own = gets_key(self._address)
        return openai.OpenAI(
            # A server of one's own needs no key, but the client does.
            api_key=(os.environ.get("OPENAI_API_KEY") if own else None) or "none",
            default_headers=None if own else _without_the_operators(),
            base_url=self._address,
            timeout=self.timeout,
            max_retries=self.retries,
            # Who is sent to another server would send the prompts there.
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )

    @property
    def _address(self) -> str:
        return self.base_url or default_address()

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return self._client.post(path, body={"model": self.model, **body}, cast_to=object)

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        """Ask in the manner of the server, and learn that manner from its refusals."""
        while True:
            sent = self._manner.spelled(body)
            try:
                return self._post(path, sent)
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                with self._lock:
                    # Another thread may have learned it in the meantime.
                    if self._manner.spelled(body) == sent:
                        learned = self._manner.after(error, sent)
                        if learned == self._manner:
                            raise
                        self._manner = learned

    def _learn(self, **known: Any) -> None:
        with self._lock:
            self._manner = self._manner._replace(**known)

    def _each(self, calls: Sequence[Callable[[], Found]]) -> list[Found | Failure]:
        with ThreadPoolExecutor(self.concurrency) as pool:
            futures = [pool.submit(self._attempt, call) for call in calls]
            try:
                return [future.result() for future in futures]
            except InputError:
                pool.shutdown(cancel_futures=True)
                raise

    def _attempt(self, call: Callable[[], Found]) -> Found | Failure:
        try:
            return call()
        except InputError:
            raise
        except openai.AuthenticationError:
            raise self._refused() from None
        except openai.APITimeoutError:
            return Failure(f"The server gave no answer within {self.timeout:g} s.")
        except openai.APIConnectionError:
            return Failure("The server cannot be reached.")
        except openai.RateLimitError:
            return Failure("The server's rate limit was reached.")
        except openai.APIStatusError as error:
            if error.status_code >= 500:
                return Failure(f"The server failed with error {error.status_code}.")
            if error.status_code < 400:
                where = error.response.headers.get("location")
                return Failure(f"The server points to another address: use {where}.")
            why = manner.message(error).splitlines()[0][:200]
            return Failure(f"The server refused the request: {why}")
        except (openai.APIError, AttributeError, LookupError, TypeError, ValueError):
            return Failure("The server's reply cannot be read.")

    def _refused(self) -> InputError:
        if not gets_key(self._address):
            return InputError(
                f"{self._address} wants a key. OPENAI_API_KEY goes to {default_address()} only: "
                "set OPENAI_BASE_URL to the server that the key is for."
            )
        return InputError(
            f"{self._address} refuses the key. Set OPENAI_API_KEY to one that it takes."
        )


def _without_the_operators() -> dict[str, Any]:
    """Settings that the client would take from the environment for every server: accounts, and
    headers that may hold other keys."""
    custom = os.environ.get("OPENAI_CUSTOM_HEADERS", "").splitlines()
    names = ["OpenAI-Organization", "OpenAI-Project", *(line.partition(":")[0] for line in custom)]
    return {name.strip(): openai.Omit() for name in names}
