"""DUKPT: from a base derivation key and a KSN to the one key that enciphers one PIN block."""
