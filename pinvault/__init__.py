"""pinvault: PIN-block cryptography as a service; clear PINs never leave the secure zone."""

__version__ = "0.1.0"
