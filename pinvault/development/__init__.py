"""What a developer's machine needs and production does not, made on the spot.

Rules:
- Everything it makes stands under one folder, in files of mode 0600, and is worth nothing.
- Nothing in the service imports this package.
"""
