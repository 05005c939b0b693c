"""Who does the work: chat models, what stands around them, and the sessions that make them backends.

    sessions → resilience → warming → metered → limits → anthropic | openai | openai_chat | stub     (each a `ChatModel` but the first)

`sessions` turns a chat model into a `Backend`; `resilience` owns the retries; `limits` the account's rate; `wire` is what the
model APIs have in common; `stub` simulates one.
"""
