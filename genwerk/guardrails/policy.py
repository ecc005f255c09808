"""Which guards stand at the door: the recipe's `guards` section, and the guards it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from genwerk.core.config import Config, Field
from genwerk.guardrails.grounding import Grounding, Support
from genwerk.guardrails.guard import Guard
from genwerk.guardrails.injection import Injection, PassageInjection
from genwerk.guardrails.pii import InputPii, OutputPii


class GuardsConfig(Config):
    """What is checked on the way in and out. `off` leaves a guard out."""

    input_pii: Literal["redact", "block", "off"] = Field(
        "redact", description="personal data in a question is masked before search, model and log see it"
    )
    input_injection: Literal["block", "off"] = Field(
        "block", description="attempts to change the assistant's instructions are refused"
    )
    passage_injection: Literal["drop", "off"] = Field(
        "drop", description="passages that give the assistant orders are found and shown, but not read to the model"
    )
    output_pii: Literal["redact", "block", "off"] = Field(
        "redact", description="personal data in an answer is masked unless a cited passage holds it"
    )
    output_grounding: Literal["block", "off"] = Field(
        "block", description="a second look at grounded answers: no sentence leaves that no passage supports"
    )


@dataclass(frozen=True, slots=True)
class Guards:
    """Guards in the order they look: injection and grounding first (the raw text), then personal data.

    passages   look at what is about to be read to the model.
    """

    inbound: tuple[Guard, ...]
    outbound: tuple[Guard, ...]
    passages: tuple[Guard, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(guard.name for guard in (*self.inbound, *self.passages, *self.outbound))


def build_guards(config: GuardsConfig, supported: Support | None = None) -> Guards:
    """The guards that `config` asks for; grounding only where a measure of support is given (no retrieval, none)."""
    inbound: list[Guard] = []
    outbound: list[Guard] = []
    if config.input_injection == "block":
        inbound.append(Injection())
    if config.input_pii != "off":
        inbound.append(InputPii(config.input_pii))
    if config.output_grounding == "block" and supported is not None:
        outbound.append(Grounding(supported))
    if config.output_pii != "off":
        outbound.append(OutputPii(config.output_pii))
    read = config.passage_injection == "drop" and supported is not None
    passages = (PassageInjection(),) if read else ()
    return Guards(tuple(inbound), tuple(outbound), passages)
