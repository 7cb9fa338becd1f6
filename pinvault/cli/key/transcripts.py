"""`pinvault key verify-transcript`: is this what happened, and does the audit log know of it.

Rules:
- Every fault that is found is told; none ends the looking.
- The key ring says whose signature it is: a signer's check value is its public key's SHA-256.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import click

from hsm import keyring
from hsm.keyring import Keyring
from pinvault import bootstrap
from pinvault.audit import chain
from pinvault.audit.durable import worker_files
from pinvault.ceremony import transcript
from pinvault.ceremony.transcript import SignedTranscript
from pinvault.cli.common import config_argument
from pinvault.cli.key.desk import NotDone
from pinvault.config import Loaded, load
from pinvault.model.keys import KeyDirectory, Usage

FORGED = 1


@click.command(name="verify-transcript")
@config_argument
@click.argument("transcript_file", metavar="TRANSCRIPT", type=click.Path(path_type=Path))
@click.pass_context
def verify_transcript(context: click.Context, config_file: Path, transcript_file: Path) -> None:
    """Check a transcript (its JSON file, and the text beside it); ends with 1 on a fault."""
    loaded = load(config_file.absolute())
    try:
        signed = transcript.decode(transcript_file.read_bytes())
    except ValueError as error:
        raise NotDone(f"{transcript_file}: {error}: give the JSON file") from None
    ring = keyring.load(bootstrap.ring_path(loaded))
    faults = [
        *_faults_of_signatures(ring, signed),
        *_faults_of_text(transcript_file.with_suffix(".txt"), signed),
        *_faults_of_record(loaded, ring, signed),
    ]
    for fault in faults:
        click.echo(f"{transcript_file}: {fault}", err=True)
    if faults:
        context.exit(FORGED)
    told = signed.transcript
    click.echo(f"{transcript_file}: genuine: {told.kind.lower()} {told.result}, {told.key.id}")


def _faults_of_signatures(ring: Keyring, signed: SignedTranscript) -> Iterator[str]:
    if signed.signature is None:
        yield "it is not signed: the token could not at the time; trust the paper"
    elif not transcript.is_genuine(signed):
        yield "the signature is not that of these facts: they were changed"
    elif not _is_ours(bootstrap.key_directory(ring), signed):
        yield "it was signed by a key that is no audit signing key of the key ring"
    for step in transcript.unsigned_steps(signed.transcript):
        yield f"{step.who} did not sign this: {step.done}"


def _is_ours(directory: KeyDirectory, signed: SignedTranscript) -> bool:
    """Tell whether the signer is an audit signing key of the ring, of whatever version."""
    if signed.signature is None:
        return False
    check_value = hashlib.sha256(bytes.fromhex(signed.signature.public_key)).hexdigest().upper()
    return any(
        (key.id, key.usage, key.check_value) == (signed.signature.signer, Usage.S0, check_value)
        for key in directory
    )


def _faults_of_text(text: Path, signed: SignedTranscript) -> Iterator[str]:
    if text.exists() and text.read_text() != transcript.render(signed):
        yield f"{text.name} beside it says something else: it was edited"


def _faults_of_record(loaded: Loaded, ring: Keyring, signed: SignedTranscript) -> Iterator[str]:
    """Look for an authentic record of the transcript; `pinvault audit verify` judges the rest."""
    index = bootstrap.active_key(loaded, bootstrap.key_directory(ring), "index")
    device = bootstrap.open_device(loaded, ring)
    try:
        chain_key = bootstrap.Secrets.derive(device, index.id).audit_chain
    finally:
        device.close()
    wanted = transcript.digest(signed.transcript)
    folder = loaded.file(loaded.config.audit.directory)
    if wanted not in _recorded(folder, chain_key):
        yield "the audit log has no record of it"


def _recorded(folder: Path, chain_key: bytes) -> Iterator[str]:
    """Give the digests of the transcripts that the audit log knows of."""
    for _, path in worker_files(folder):
        with path.open("rb") as file:
            for line in file:
                if b'"transcript":' not in line:
                    continue
                try:
                    yield chain.read(line, chain_key=chain_key).transcript
                except chain.LineError:
                    continue
