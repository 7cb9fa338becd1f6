"""Messages and services of pinvault.v1: made by `./dev proto`, not by hand."""
