"""The hosted page in Chromium. A package, so that the browser ends with the last test of it."""
