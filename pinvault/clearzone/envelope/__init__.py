"""PINs in envelopes: opened as an incoming profile says, made as an outgoing one says."""
