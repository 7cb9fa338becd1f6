"""Tells others what happened: signed messages over HTTP, and where they may go."""
