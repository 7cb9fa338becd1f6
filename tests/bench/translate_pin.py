"""`translate-pin`: what a call of TranslatePin costs the server, beside calls that do less."""

from tests.bench import beside_empty, messages
from tests.bench.child import BenchServer
from tests.bench.place import TRANSLATE_PIN, Environment
from tests.bench.report import Table


def run(environment: Environment) -> list[Table]:
    """Measure."""
    with BenchServer(environment) as server:
        found = {
            to: beside_empty.with_blocks(
                server, TRANSLATE_PIN, messages.translation(environment, to=to)
            )
            for to in ("ISO_0", "ISO_3")
        }
    return [
        *(
            beside_empty.table(f"TranslatePin under TDES, ISO_0 to {to}, h2load", rounds)
            for to, rounds in found.items()
        ),
        beside_empty.parts(environment, "TranslatePin from ISO_0", "to ISO_0", "to ISO_3"),
    ]
