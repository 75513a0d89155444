"""A language model behind any server that speaks OpenAI's protocol."""

from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from typing import Any, Literal, NamedTuple

import numpy as np
import openai

from interp.errors import InputError
from interp.llm import manner
from interp.llm.connection import Connection, Failure
from interp.llm.llm import Answers, Completion, Message, Query
from interp.llm.reading import NOT_RETURNED, from_logits, from_top, missing
from interp.llm.registry import LoadCausalLM
from interp.llm.said import Said, tells_what_it_kept, tokens_read
from interp.llm.tokens import Encoder, Places

PLACES_A_REQUEST = 64
KNOWN_TEXTS = 2**16
"""Texts whose tokens are kept, so that a server is asked for them once."""
GREETING = 16
"""Tokens of an answer that only shows that there is one."""
TOP = (20, 5)
"""How many of the likeliest tokens to ask for: the most that OpenAI gives a chat, and a text."""


class Way(NamedTuple):
    """The request by which a server gives distributions."""

    reads: Literal["anywhere", "end", "nothing"]
    path: str = ""
    top: int = 0


def load(model: str, base_url: str | None, causal_lm: LoadCausalLM) -> "OpenAILLM":
    """See :class:`interp.llm.registry.Loader`."""
    return OpenAILLM(model, base_url)


class OpenAILLM(Connection):
    """Asks a server: vLLM, llama.cpp, Ollama, OpenRouter, OpenAI and others.

    The client tests once what a server can do. vLLM gives the log-probabilities of chosen tokens
    (``logprob_token_ids``) after any prompt of token ids, so it is read anywhere, exactly. Others
    give the likeliest next tokens at best, and are read at the end of a text. The client learns the
    parameters that a server accepts, and whether its model reasons, from its replies.
    """

    @property
    def name(self) -> str:
        return self.model

    @property
    def reads(self) -> Literal["anywhere", "end", "nothing"]:
        """The positions where the server can be read, found out on the first request.

        Raises:
            InputError: The server does not answer, or refuses the model or the key.
        """
        return self._way.reads

    def complete(
        self, chats: Sequence[Sequence[Message]], *, max_tokens: int, temperature: float = 0.0
    ) -> list[Completion]:
        """See :class:`interp.llm.llm.LLM`.

        Raises:
            InputError: The server refuses the model or the key.
        """
        calls = [partial(self._complete, list(chat), max_tokens, temperature) for chat in chats]
        # The first one finds out how the server wants to be asked, and the others are asked so.
        alone = 1 if self._manner.reasons is None else 0
        found = [*self._each(calls[:alone]), *self._each(calls[alone:])]
        return [
            Completion(None, one.why, 0, 0) if isinstance(one, Failure) else one for one in found
        ]

    def _complete(self, chat: list[Message], max_tokens: int, temperature: float) -> Completion:
        read = written = 0
        cut: Completion | None = None  # it may have been reasoning, with no sign of it yet
        room = True
        while True:
            reasons = self._manner.reasons or cut is not None
            limit = self._manner._replace(reasons=reasons and room).limits(max_tokens)
            body = {"max_tokens": limit, "temperature": temperature}
            try:
                said = Said.of(self._ask("/chat/completions", body | {"messages": chat}))
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if manner.out_of_room(error):
                    if reasons:
                        raise
                    self._learn(reasons=True)
                elif limit == max_tokens:
                    raise
                elif cut is not None and not self._manner.reasons:
                    # The server took the same chat with less: its context has no such room.
                    self._learn(reasons=False)
                    return cut
                else:
                    room = False  # for this chat: a shorter one may have it
                continue
            read, written = read + said.tokens_read, written + said.tokens_written
            if said.reasoned and not self._manner.reasons:
                self._learn(reasons=True)
            elif said.hidden and not manner.SWITCHES.keys() <= self._manner.left_out:
                # Some servers take an answer for reasoning if the model was told not to reason.
                self._learn(left_out=self._manner.left_out | manner.SWITCHES.keys())
            else:
                found = said.completion._replace(tokens_read=read, tokens_written=written)
                if said.cut and self._manner.reasons is None and cut is None:
                    cut = found
                    continue
                if self._manner.reasons is None:
                    self._learn(reasons=False)
                return found

    def distributions(
        self, prefix: Sequence[str], queries: Sequence[Query], answers: Sequence[str]
    ) -> list[Answers]:
        """See :class:`interp.llm.llm.LLM`.

        Raises:
            InputError: As there, or the server refuses the model or the key.
        """
        if self.reads == "anywhere":
            return self._anywhere(prefix, queries, answers)
        if self.reads == "nothing" or any(len(query.pieces) != 1 for query in queries):
            raise InputError(
                f"The server of {self.model} gives log-probabilities "
                + ("nowhere." if self.reads == "nothing" else "at the end of a text only.")
            )
        texts = ["".join([*prefix, *query.pieces]) for query in queries]
        found = self._each([partial(self._at_end, text, answers) for text in texts])
        return [
            missing(1, len(answers), one.why) if isinstance(one, Failure) else one for one in found
        ]

    # --- Any place, by token ids ----------------------------------------------------------------

    def _anywhere(
        self, prefix: Sequence[str], queries: Sequence[Query], answers: Sequence[str]
    ) -> list[Answers]:
        (found,) = self._each([partial(self._tokenized, prefix, queries, answers)])
        if isinstance(found, Failure):
            return [missing(len(query.pieces), len(answers), found.why) for query in queries]
        before, wanted = found
        each = self._each([partial(self._at, before, prefix, one, wanted) for one in queries])
        return [
            missing(len(query.pieces), len(wanted), answer.why)
            if isinstance(answer, Failure)
            else answer
            for query, answer in zip(queries, each, strict=True)
        ]

    def _tokenized(
        self, prefix: Sequence[str], queries: Sequence[Query], answers: Sequence[str]
    ) -> tuple[list[int], list[int]]:
        """The prefix of all queries, and the answers, in tokens."""
        parts = [self._beginning, *self._encoder.parts(prefix)]
        return [i for part in parts for i in part], self._encoder.answers(queries, answers)

    def _at(
        self, before: list[int], prefix: Sequence[str], query: Query, wanted: list[int]
    ) -> Answers:
        return self._at_places(before, self._encoder.places(prefix, query), wanted)

    def _at_places(self, before: list[int], asked: Places, wanted: list[int]) -> Answers:
        """One prompt a place. The server's prefix cache holds their common part.

        A server that does not say how much it held is taken to have read the query's tokens once.
        """
        prompts = [before + asked.ids[: end + 1] for end in asked.read_at]
        logprobs = np.full((len(prompts), len(wanted)), np.nan)
        read = 0
        for start in range(0, len(prompts), PLACES_A_REQUEST):
            reply = self._post(
                "/completions",
                {
                    "prompt": prompts[start : start + PLACES_A_REQUEST],
                    "max_tokens": 1,
                    "temperature": 0,
                    "logprobs": 1,
                    "logprob_token_ids": wanted,
                    "return_tokens_as_token_ids": True,
                },
            )
            if len(reply["choices"]) != len(prompts[start : start + PLACES_A_REQUEST]):
                raise ValueError("not one choice a prompt")
            read += tokens_read(reply) if tells_what_it_kept(reply) else 0
            for choice in reply["choices"]:
                found = _top(choice)
                logprobs[start + choice["index"]] = [found[f"token_id:{i}"] for i in wanted]
        return from_logits(logprobs, read or len(asked.ids))

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(lru_cache(KNOWN_TEXTS)(self._tokenize))

    def _tokenize(self, text: str, special: bool = False) -> list[int]:
        # vLLM has this beside the folder of OpenAI's paths, not in it.
        address = str(self._client.base_url).removesuffix("/").removesuffix("/v1") + "/tokenize"
        ids = self._post(address, {"prompt": text, "add_special_tokens": special})["tokens"]
        return [int(i) for i in ids]

    @cached_property
    def _beginning(self) -> list[int]:
        """The tokens that the server puts before a text."""
        plain, whole = self._tokenize("1"), self._tokenize("1", special=True)
        return whole[: whole.index(plain[0])]

    # --- The end of a text, by the likeliest tokens ---------------------------------------------

    def _at_end(self, text: str, answers: Sequence[str]) -> Answers:
        logprobs, read = self._next_tokens(self._way, text)
        probabilities = from_top(logprobs, answers)
        if probabilities is None:
            return missing(1, len(answers), NOT_RETURNED)._replace(tokens_read=read)
        return Answers(probabilities[None], [""], read)

    def _next_tokens(self, way: Way, text: str) -> tuple[dict[str, float], int]:
        """The log-probabilities of the likeliest next tokens, and the number of tokens read."""
        body: dict[str, Any] = {"max_tokens": 1, "temperature": 0}
        if way.path == "/completions":
            body |= {"prompt": text, "logprobs": way.top}
        else:
            body |= {"messages": [_user(text)], "logprobs": True, "top_logprobs": way.top}
        reply = self._ask(way.path, body)
        logprobs = sorted(_top(reply["choices"][0]).items(), key=lambda one: -one[1])
        if not logprobs:
            raise ValueError("no log-probabilities")
        # Some give the token that they chose besides, which may be less likely than all the rest.
        return dict(logprobs[: way.top]), tokens_read(reply)

    # --- What the server can do -----------------------------------------------------------------

    @cached_property
    def _way(self) -> Way:
        self.served()  # a server that is not there, or refuses the key, ends it here
        (ids,) = self._each([partial(self._tokenize, "1")])
        if not isinstance(ids, Failure):
            one = Places(ids[:1], [0])
            (found,) = self._each([partial(self._at_places, [], one, one.ids)])
            if not isinstance(found, Failure):
                return Way("anywhere")
        if (way := self._end_of("/completions")) is not None:
            return way
        (answer,) = self._each([partial(self._complete, [_user("Say hello.")], GREETING, 0.0)])
        if isinstance(answer, Failure):
            raise InputError(f"{self.model} at {self._client.base_url} fails. {answer.why}")
        # What a model that reasons writes first is no answer.
        way = None if self._manner.reasons else self._end_of("/chat/completions")
        return way or Way("nothing")

    def _end_of(self, path: str) -> Way | None:
        """The way to read the end of a text by a path of the server; None if it cannot be read."""
        for top in TOP:
            way = Way("end", path, top)
            (failed,) = self._each([partial(self._next_tokens, way, "1, 2, 3, 4,")])
            if not isinstance(failed, Failure):
                return way
        return None


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _top(choice: Any) -> dict[str, float]:
    """The log-probabilities in a choice, in the form of a text's or of a chat's."""
    logprobs = choice["logprobs"]
    if content := logprobs.get("content"):
        return {one["token"]: float(one["logprob"]) for one in content[0]["top_logprobs"]}
    return {token: float(logprob) for token, logprob in logprobs["top_logprobs"][0].items()}
