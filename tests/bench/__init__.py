"""Measurements: what a call costs, where the time goes, and what other ways would cost.

Rules:
- What is compared runs in turns within the same minute, and a ratio is the median of the
  rounds' ratios: on a noisy machine only that means anything. No absolute number is a claim.
- Costs are CPU time of the server's process alone, whatever the client takes.
- A benchmark whose calls were not all served OK fails; it has no result.
"""
