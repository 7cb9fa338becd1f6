"""CardPinService: each method reads its request, runs one use case, and writes the answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pinvault.model.call import Call
from pinvault.model.pan import Pan
from pinvault.operations.cards.answers import PinVerdict
from pinvault.operations.cards.change_pin import ChangePin
from pinvault.operations.cards.check_pin import CheckPin
from pinvault.operations.cards.create_pin_session import CreatePinSession
from pinvault.operations.cards.desk import CardDesk
from pinvault.operations.cards.get_card import GetCard
from pinvault.operations.cards.get_control_token import GetControlToken
from pinvault.operations.cards.issue_control_token import IssueControlToken
from pinvault.operations.cards.open_pin_session import OpenPinSession
from pinvault.operations.cards.register_card import RegisterCard
from pinvault.operations.cards.reissue_pin import ReissuePin
from pinvault.operations.cards.reset_pin import ResetPin
from pinvault.operations.cards.reveal_pin import RevealPin
from pinvault.operations.cards.set_card_status import SetCardStatus
from pinvault.operations.cards.set_pin import SetPin
from pinvault.operations.cards.submit_pin import SubmitPin
from pinvault.operations.cards.unblock_pin import UnblockPin
from pinvault.server import card_messages as cards
from pinvault.server import messages
from pinvault.server.gate import Method
from pinvault.v1 import card_pin_pb2 as pb


@dataclass(frozen=True, slots=True)
class CardPinService:
    """The service over what its use cases stand on; `on_blocked` hears of every last try used."""

    desk: CardDesk
    on_blocked: Callable[[], None]

    def methods(self) -> tuple[Method[Any], ...]:
        """List what there is to serve."""
        return (
            Method("CardPinService.RegisterCard", pb.RegisterCardRequest, self.register_card),
            Method("CardPinService.GetCard", pb.GetCardRequest, self.get_card),
            Method("CardPinService.SetCardStatus", pb.SetCardStatusRequest, self.set_card_status),
            Method(
                "CardPinService.IssueControlToken",
                pb.IssueControlTokenRequest,
                self.issue_control_token,
            ),
            Method(
                "CardPinService.GetControlToken", pb.GetControlTokenRequest, self.get_control_token
            ),
            Method("CardPinService.SetPin", pb.SetPinRequest, self.set_pin),
            Method("CardPinService.ChangePin", pb.ChangePinRequest, self.change_pin),
            Method("CardPinService.ResetPin", pb.ResetPinRequest, self.reset_pin),
            Method("CardPinService.ReissuePin", pb.ReissuePinRequest, self.reissue_pin),
            Method("CardPinService.CheckPin", pb.CheckPinRequest, self.check_pin),
            Method("CardPinService.RevealPin", pb.RevealPinRequest, self.reveal_pin),
            Method("CardPinService.UnblockPin", pb.UnblockPinRequest, self.unblock_pin),
            Method(
                "CardPinService.CreatePinSession",
                pb.CreatePinSessionRequest,
                self.create_pin_session,
            ),
            Method(
                "CardPinService.OpenPinSession", pb.OpenPinSessionRequest, self.open_pin_session
            ),
            Method("CardPinService.SubmitPin", pb.SubmitPinRequest, self.submit_pin),
        )

    def register_card(self, call: Call, request: pb.RegisterCardRequest) -> pb.RegisterCardResponse:
        """Serve RegisterCard."""
        card = RegisterCard(self.desk)(
            call,
            program=request.program,
            pan=Pan(request.pan),
            sequence_number=request.pan_sequence_number or None,
            expiry=request.expiry,
            status=cards.read_status(request.status),
            external_id=request.external_id or None,
            request=cards.read_request(request),
        )
        return pb.RegisterCardResponse(card=cards.write_card(card))

    def get_card(self, call: Call, request: pb.GetCardRequest) -> pb.GetCardResponse:
        """Serve GetCard."""
        card = GetCard(self.desk)(call, card=cards.read_card(request.card))
        return pb.GetCardResponse(card=cards.write_card(card))

    def set_card_status(
        self, call: Call, request: pb.SetCardStatusRequest
    ) -> pb.SetCardStatusResponse:
        """Serve SetCardStatus."""
        card = SetCardStatus(self.desk)(
            call, card=cards.read_card(request.card), status=cards.read_status(request.status)
        )
        return pb.SetCardStatusResponse(card=cards.write_card(card))

    def issue_control_token(
        self, call: Call, request: pb.IssueControlTokenRequest
    ) -> pb.IssueControlTokenResponse:
        """Serve IssueControlToken."""
        issued = IssueControlToken(self.desk)(
            call, card=cards.read_card(request.card), kind=cards.read_token_kind(request.type)
        )
        return pb.IssueControlTokenResponse(
            control_token=issued.token,
            card_id=issued.card_id,
            expire_time=cards.write_time(issued.expires_at),
        )

    def get_control_token(
        self, call: Call, request: pb.GetControlTokenRequest
    ) -> pb.GetControlTokenResponse:
        """Serve GetControlToken."""
        found = GetControlToken(self.desk)(call, control_token=request.control_token)
        return pb.GetControlTokenResponse(
            card_id=found.card_id,
            type=cards.TOKEN_KINDS[found.kind],
            expire_time=cards.write_time(found.expires_at),
        )

    def set_pin(self, call: Call, request: pb.SetPinRequest) -> pb.SetPinResponse:
        """Serve SetPin."""
        placed = SetPin(self.desk)(
            call,
            card=cards.read_card(request.card) if request.HasField("card") else None,
            control_token=request.control_token or None,
            new=messages.read_source(request.new_source, at="new_source"),
            request=cards.read_request(request),
        )
        return cards.write_set_pin(placed)

    def change_pin(self, call: Call, request: pb.ChangePinRequest) -> pb.ChangePinResponse:
        """Serve ChangePin."""
        verdict = ChangePin(self.desk)(
            call,
            card=cards.read_card(request.card),
            current=messages.read_source(request.current_source, at="current_source"),
            new=messages.read_source(request.new_source, at="new_source"),
            request=cards.read_request(request),
        )
        self._note(verdict)
        return cards.write_change_pin(verdict)

    def reset_pin(self, call: Call, request: pb.ResetPinRequest) -> pb.ResetPinResponse:
        """Serve ResetPin."""
        placed = ResetPin(self.desk)(
            call,
            card=cards.read_card(request.card),
            new=messages.read_source(request.new_source, at="new_source"),
            request=cards.read_request(request),
        )
        return cards.write_reset_pin(placed)

    def reissue_pin(self, call: Call, request: pb.ReissuePinRequest) -> pb.ReissuePinResponse:
        """Serve ReissuePin."""
        issued = ReissuePin(self.desk)(
            call, card=cards.read_card(request.card), profile=request.profile
        )
        return cards.write_reissue_pin(issued)

    def check_pin(self, call: Call, request: pb.CheckPinRequest) -> pb.CheckPinResponse:
        """Serve CheckPin."""
        verdict = CheckPin(self.desk)(
            call,
            card=cards.read_card(request.card),
            source=messages.read_source(request.source, at="source"),
            request=cards.read_request(request),
        )
        self._note(verdict)
        return cards.write_check_pin(verdict)

    def reveal_pin(self, call: Call, request: pb.RevealPinRequest) -> pb.RevealPinResponse:
        """Serve RevealPin."""
        revealed = RevealPin(self.desk)(
            call,
            control_token=request.control_token,
            verification=cards.read_verification(request.cardholder_verification_method),
            recipient=cards.read_recipient(request.recipient_key),
        )
        return pb.RevealPinResponse(
            card_id=revealed.card_id,
            envelope=revealed.envelope,
            stored_key=messages.write_key_use(revealed.key),
        )

    def unblock_pin(self, call: Call, request: pb.UnblockPinRequest) -> pb.UnblockPinResponse:
        """Serve UnblockPin."""
        card = UnblockPin(self.desk)(call, card=cards.read_card(request.card))
        return pb.UnblockPinResponse(card=cards.write_card(card))

    def create_pin_session(
        self, call: Call, request: pb.CreatePinSessionRequest
    ) -> pb.CreatePinSessionResponse:
        """Serve CreatePinSession."""
        created = CreatePinSession(self.desk)(
            call,
            card=cards.read_card(request.card),
            action=cards.read_action(request.action),
            origin=request.origin,
        )
        return pb.CreatePinSessionResponse(
            session_id=created.session_id,
            session_secret=created.secret,
            card_id=created.card_id,
            expire_time=cards.write_time(created.expires_at),
        )

    def open_pin_session(
        self, call: Call, request: pb.OpenPinSessionRequest
    ) -> pb.OpenPinSessionResponse:
        """Serve OpenPinSession."""
        opened = OpenPinSession(self.desk)(
            call, session_id=request.session_id, secret=request.session_secret
        )
        return pb.OpenPinSessionResponse(
            page_secret=opened.page_secret,
            card_id=opened.card_id,
            last_four=opened.last_four,
            action=cards.ACTIONS[opened.action],
            min_pin_length=opened.pin_length.minimum,
            max_pin_length=opened.pin_length.maximum,
            origin=opened.origin,
            expire_time=cards.write_time(opened.expires_at),
        )

    def submit_pin(self, call: Call, request: pb.SubmitPinRequest) -> pb.SubmitPinResponse:
        """Serve SubmitPin."""
        current = None
        if request.HasField("current_source"):
            current = messages.read_source(request.current_source, at="current_source")
        verdict = SubmitPin(self.desk)(
            call,
            session_id=request.session_id,
            page_secret=request.page_secret,
            current=current,
            new=messages.read_source(request.new_source, at="new_source"),
        )
        self._note(verdict)
        return cards.write_submit_pin(verdict)

    def _note(self, verdict: PinVerdict) -> None:
        if verdict.blocked and not verdict.matches:
            self.on_blocked()
