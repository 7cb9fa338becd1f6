"""May it? Grants and limits, as data that is read once and asked on every call."""
