"""Stand-ins for the child in which tokens are qualified: it crashes, hangs, is refused, or ends.

They are functions of a module because a spawned process finds them by name.
"""

import os
import signal
import time

from hsm import qualify
from hsm.qualify_bench import Need, Row, Suitability

FIRST = Need(name="first", call="C_First", lost="much", remedy="mend it")
CRASHING = Need(name="crashing", call="C_Crash", lost="all of it", remedy="mend it")
HANGING = Need(name="hanging", call="C_Hang", lost="all of it", remedy="mend it", patience=0.2)
TOLD = Need(name="told", call="C_Told", lost="", remedy="", only_told=True)
LAST = Need(name="last", call="C_Last", lost="much", remedy="mend it")


def _meet(connection, need, told):
    if need.name not in told:
        connection.send(need)
        connection.send(Row.of(need, Suitability.GOOD, "works"))


def _fall(connection, need, told, fall):
    if need.name not in told:
        connection.send(need)
        fall()


def _crash():
    qualify._be_quiet()
    os.kill(os.getpid(), signal.SIGSEGV)


def falling(connection, location, told):
    """Three of five trials end the process."""
    _meet(connection, FIRST, told)
    _fall(connection, CRASHING, told, _crash)
    _fall(connection, HANGING, told, lambda: time.sleep(60))
    _meet(connection, LAST, told)
    _fall(connection, TOLD, told, _crash)
    connection.send(None)


def raising(connection, location, told):
    """It ends by an error of its own."""
    _meet(connection, FIRST, told)
    _fall(connection, CRASHING, told, lambda: os._exit(7))
    connection.send(None)


def never_initialised(connection, location, told):
    """The module ends the process as soon as it is loaded."""
    assert not told, "what crashed at once is not loaded again"
    connection.send(qualify._MODULE)
    _crash()
