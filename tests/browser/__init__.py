"""The hosted page in Chromium, and once in Firefox. A package, so that browsers end with it."""
