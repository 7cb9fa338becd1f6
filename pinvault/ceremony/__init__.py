"""Key ceremonies: a key from the components of custodians who do not know each other's.

`plan` reads the reviewed file, `people` prove who they are, `procedure` takes the steps, and
`transcript` tells them. What a key is, and where it goes, is not known here.
"""
