"""Read by protovalidate, never by our code, and so no message of it is typed here."""

from google.protobuf.descriptor import FileDescriptor

DESCRIPTOR: FileDescriptor
