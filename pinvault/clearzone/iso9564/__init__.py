"""PIN block formats of ISO 9564-1:2017, clause 9.3: one module a format, fields in and fields out.

Rules:
- A codec turns a PIN into the clear field of its format and back; enciphering is not
  its business.
- Decoding rejects whatever is not exactly well-formed, looks at every nibble before
  it does, and says nothing but `Malformed`.
"""
