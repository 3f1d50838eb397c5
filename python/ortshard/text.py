"""Text to token ids and back, chat templates, and what a model's answer says."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from ctypes import byref, c_char_p, c_int32, c_int64, c_size_t, c_void_p, string_at
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _abi, errors
from ._abi import ChatEvent, ChatEventKind
from ._library import Handle, lib
from ._structs import bytes_of, fill, ids_array, ids_of, initial, json_text, number, read, text_of, utf8

__all__ = ["ChatParser", "TextStream", "Tokenizer"]

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: A conversation: a list of messages such as {"role": "user", "content": "Hi"}, or its JSON.
Messages = Sequence[Mapping[str, Any]] | str


class Tokenizer(Handle):
    """A model's tokenizer: of a folder, or the tokenizer.json that `path` names. Any number of threads share it."""

    _kind = "tokenizer"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        pointer = c_void_p()
        lib.ortshard_tokenizer_open(utf8(path, "path"), byref(pointer))
        self._adopt(pointer.value)

    def encode(self, text: str, add_special: bool = True, special_as_text: bool = False) -> list[int]:
        """The token ids of `text`: never truncated, never padded.

        `add_special`: with the tokens that tokenizer.json puts around a text, such as a BOS; a text from `chat_text()` has them
        already. `special_as_text`: special tokens that the text spells out are text like any other.
        """
        return self.encode_texts([text], add_special=add_special, special_as_text=special_as_text)[0]

    def encode_texts(self, texts: Sequence[str], **options: Unpack[_abi.EncodeOptions]) -> list[list[int]]:
        """The token ids of many texts. Long lists are shared out among threads. Options are those of `encode()`."""
        if isinstance(texts, str):
            raise TypeError("texts must be a list of str; encode() takes one")
        encoded = [utf8(text) for text in texts]
        given, ends = (c_char_p * max(len(encoded), 1))(*encoded), (c_size_t * max(len(encoded), 1))()
        struct = fill("ortshard_encode_options", _with_special(options))
        # Hardly a text has more tokens than bytes, and asking for the number takes as long as the answer.
        room, needed = sum(map(len, encoded)) + 8 * len(encoded), c_size_t()
        while True:
            ids = np.empty(room, np.int64)
            try:
                arguments = (given, len(encoded), byref(struct), ids.ctypes.data, room, byref(needed), ends)
                lib.ortshard_tokenizer_encode_texts(self._handle, *arguments)
                break
            except errors.BufferTooSmall:
                room = needed.value
        flat, starts = ids.tolist(), [0, *ends[: max(len(encoded) - 1, 0)]]
        return [flat[start:end] for start, end in zip(starts, ends[: len(encoded)])]

    def encode_with_ranges(self, text: str, **options: Unpack[_abi.EncodeOptions]) -> tuple[list[int], list[tuple[int, int]]]:
        """The token ids of `text`, and for each the bytes of the text, in UTF-8, that it stands for."""
        encoded, struct, needed = utf8(text), fill("ortshard_encode_options", _with_special(options)), c_size_t()
        room = len(encoded) + 8
        while True:
            ids, ranges = (c_int64 * room)(), (_abi.ortshard_byte_range * room)()
            try:
                arguments = (encoded, byref(struct), ids, ranges, room, byref(needed))
                lib.ortshard_tokenizer_encode_with_ranges(self._handle, *arguments)
                break
            except errors.BufferTooSmall:
                room = needed.value
        return ids[: needed.value], [(ranges[i].start, ranges[i].end) for i in range(needed.value)]

    def decode(self, ids: Any, skip_special: bool = False) -> str:
        """The text of token ids; with `skip_special` without the special tokens among them."""
        array = ids_array(ids)
        pointer, count = array.ctypes.data, len(array)
        return text_of("ortshard_tokenizer_decode", self._handle, pointer, count, int(skip_special), room=8 * count + 64)

    @property
    def vocab_size(self) -> int:
        """The number of tokens, added ones included."""
        size = c_size_t()
        lib.ortshard_tokenizer_vocab_size(self._handle, byref(size))
        return size.value

    @property
    def bos(self) -> int | None:
        """The beginning-of-sequence id that the model's files declare, if any."""
        return self._id("ortshard_tokenizer_bos")

    @property
    def pad(self) -> int | None:
        """The padding id that the model's files declare, if any."""
        return self._id("ortshard_tokenizer_pad")

    @property
    def eos(self) -> list[int]:
        """The end-of-sequence ids that the model's files declare; there may be none or several."""
        return ids_of("ortshard_tokenizer_eos", self._handle)

    def _id(self, function: str, *arguments: Any) -> int | None:
        id = c_int64()
        getattr(lib, function)(self._handle, *arguments, byref(id))
        return None if id.value == _abi.NO_ID else id.value

    def is_eos(self, id: int) -> bool:
        """Whether generation ends at `id`."""
        return self._is("ortshard_tokenizer_is_eos", id)

    def is_special(self, id: int) -> bool:
        """Whether `id` is a special token, which `skip_special` leaves out."""
        return self._is("ortshard_tokenizer_is_special", id)

    def _is(self, function: str, id: int) -> bool:
        answer = c_int32()
        getattr(lib, function)(self._handle, number(id, "int64_t", "id"), byref(answer))
        return bool(answer.value)

    def token_to_id(self, token: str) -> int | None:
        """The id of the token that is spelled exactly so in the vocabulary, such as "<|im_end|>"."""
        return self._id("ortshard_tokenizer_token_to_id", utf8(token, "token"))

    def id_to_token(self, id: int) -> str:
        """The spelling of token `id` in the vocabulary."""
        return text_of("ortshard_tokenizer_id_to_token", self._handle, number(id, "int64_t", "id"))

    def token_bytes(self, id: int) -> bytes:
        """The bytes that token `id` adds to a text that it does not begin: those of " the", or a part of a character."""
        return bytes_of("ortshard_tokenizer_token_bytes", self._handle, number(id, "int64_t", "id"), room=64)

    def chat_text(self, messages: Messages, **options: Unpack[_abi.ChatOptions]) -> str:
        """The prompt that the model's chat template makes of `messages`. Encode it with `add_special=False`.

        Options are those of `ChatOptions`, such as `add_generation_prompt=True`, `tools=[...]`, and further variables of the template,
        `variables={"enable_thinking": False}`.
        """
        struct = fill("ortshard_chat_options", options)
        return text_of("ortshard_tokenizer_chat_text", self._handle, json_text(messages, "messages"), byref(struct), room=4096)

    def chat_ids(self, messages: Messages, **options: Unpack[_abi.ChatOptions]) -> list[int]:
        """The ids of `chat_text()`. With `control_as_text=True` only the template writes control tokens."""
        struct, given = fill("ortshard_chat_options", options), json_text(messages, "messages")
        return ids_of("ortshard_tokenizer_chat_ids", self._handle, given, byref(struct), room=4096)

    def stream(self, skip_special: bool = True) -> TextStream:
        """A text stream on it."""
        return TextStream(self, skip_special)

    def chat_parser(self, **options: Unpack[_abi.ChatParserOptions]) -> ChatParser:
        """A parser for an answer of its model."""
        return ChatParser(self, **options)


def _with_special(options: Any) -> dict[str, Any]:
    return {"add_special": True, **options}


class TextStream(Handle):
    """Decodes token by token. All pieces together are exactly what `Tokenizer.decode()` gives for all ids at once."""

    _kind = "text_stream"

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = True) -> None:
        pointer = c_void_p()
        lib.ortshard_text_stream_create(tokenizer._handle, int(skip_special), byref(pointer))
        self._adopt(pointer.value)

    def push(self, id: int) -> str:
        """The text that `id` makes certain: whole characters, often none."""
        text, length = c_void_p(), c_size_t()
        lib.ortshard_text_stream_push(self._handle, number(id, "int64_t", "id"), byref(text), byref(length))
        return string_at(text.value or 0, length.value).decode("utf-8", "replace") if length.value else ""

    def finish(self) -> str:
        """The text that was still held back. The stream is then at its start."""
        text, length = c_void_p(), c_size_t()
        lib.ortshard_text_stream_finish(self._handle, byref(text), byref(length))
        return string_at(text.value or 0, length.value).decode("utf-8", "replace") if length.value else ""


class ChatParser(Handle):
    """Parses a model's answer while it is written: content, reasoning and tool calls.

    Its text has to hold the special tokens: it comes from a generation with `keep_special=True`. Options are those of
    `ChatParserOptions`: `prompt`, what the model was given, and `format`, if not the one that the chat template tells.
    """

    _kind = "chat_parser"

    def __init__(self, tokenizer: Tokenizer, **options: Unpack[_abi.ChatParserOptions]) -> None:
        pointer = c_void_p()
        struct = fill("ortshard_chat_parser_options", options)
        lib.ortshard_chat_parser_create(tokenizer._handle, byref(struct), byref(pointer))
        self._adopt(pointer.value)

    def push(self, text: str) -> list[ChatEvent]:
        """Takes more of the answer, and gives what that makes certain."""
        encoded = text.encode("utf-8")
        lib.ortshard_chat_parser_push(self._handle, encoded, len(encoded))
        return self._events()

    def finish(self) -> list[ChatEvent]:
        """The answer has ended: gives what was held back."""
        lib.ortshard_chat_parser_finish(self._handle)
        return self._events()

    def _events(self) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        while True:
            event = initial("ortshard_chat_event")
            lib.ortshard_chat_parser_next(self._handle, byref(event))
            if event.kind == ChatEventKind.NOTHING:
                return events
            events.append(read(ChatEvent, event))

    @property
    def message(self) -> dict[str, Any]:
        """The message so far, ready to become the last one of the next `Tokenizer.chat_text()`."""
        message: dict[str, Any] = json.loads(text_of("ortshard_chat_parser_message", self._handle, room=4096))
        return message
