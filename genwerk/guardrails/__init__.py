"""Guards: what may come in, and what may leave.

`GUARDS` names every guard by the rule prefix its verdicts carry, and where it is written.
"""

GUARDS: dict[str, str] = {
    "input.pii": "genwerk.guardrails.pii:InputPii",
    "input.injection": "genwerk.guardrails.injection:Injection",
    "output.pii": "genwerk.guardrails.pii:OutputPii",
    "output.grounding": "genwerk.guardrails.grounding:Grounding",
}
