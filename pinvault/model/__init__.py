"""Value types that every floor above shares; nothing here does any work."""
