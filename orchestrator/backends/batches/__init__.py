"""Requests that can wait, at half the price: the providers' batch APIs behind the port of a chat model.

    complete → waiting room → driver ─ note → submit → poll → results ─→ answers
                                 │                 │
                               ledger           provider (Anthropic, OpenAI)

`model` is the face, `waiting` knows who waits for what, `driver` is the one task that talks to the provider, `ledger` is what
survives a crash, `provider` is the interface that `anthropic_batches` and `openai_batches` implement on the SDKs.
"""
