"""The most of everything that a request may hold."""

#: Bytes of a body, unless the service is told another number.
BODY = 4 << 20
#: Seconds for a body to arrive.
BODY_SECONDS = 60.0
#: Requests that wait for a place, unless the service is told another number.
QUEUE = 64
#: Of one conversation.
MESSAGES = 4096
PARTS = 1024
TOOLS = 128
CALLS = 128
#: Bytes of a JSON schema, as JSON; of all schemas of tools together as many.
SCHEMA = 64 << 10
STOPS = 16
STOP_LENGTH = 256
BIASES = 1024
TOP_LOGPROBS = 20
#: Schemas that are compiled at the same time, since each takes up to a second of a processor.
COMPILING = 2
