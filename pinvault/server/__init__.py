"""The gRPC floor: who calls, what the contract says, one record a call, and errors as status."""
