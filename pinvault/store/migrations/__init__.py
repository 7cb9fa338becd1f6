"""The schema's history. Each file of `versions` is one step, never edited once released."""
