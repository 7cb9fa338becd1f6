"""PIN block formats of makers and networks, older than ISO 9564-1 or beside it: one module each.

Rules:
- A codec turns a PIN into the clear 8-byte block of its format and back; enciphering is not
  its business.
- Decoding rejects whatever is not exactly well-formed, looks at every nibble before it does,
  and says nothing but `Malformed`. Where makers differ, the reading that leaves no doubt of
  the PIN's end is the one.
- A PIN that a format cannot hold is `Malformed` too; it is never cut.

The layouts are in the chapter on PIN block formats of IBM's ICSF Application Programmer's
Guide and in the payShield manuals, whose format codes the modules name.
"""
