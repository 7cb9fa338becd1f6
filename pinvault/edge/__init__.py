"""The edge: the APIs of card issuers' vendors over HTTP, in a process of its own.

A request goes down these stairs, and its answer up:

    serve       connections, TLS, time limits
    exchange    one request read whole, one answer, whatever happens; nothing of it in the log
    <dialect>   one vendor's words: authenticate, decode, seal, call, answer
    pinvault.client   the server

Rules:
- It is a client of the server like any other, and imports nothing else of pinvault.
- It keeps no PIN and decides nothing about one: a clear PIN that a vendor's request brings is
  sealed as the first thing that happens to it (`clear_pin`).
- A dialect is a package that gives `Options`, `Caller` and `build` (see `dialects`); it knows no
  other.
"""
