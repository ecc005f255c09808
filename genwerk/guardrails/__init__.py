"""Guards: what may come in, what is read to the model, and what may leave.

`GUARDS` names every guard by the rule prefix its verdicts carry, and where it is written.
"""

GUARDS: dict[str, str] = {
    "input.pii": "genwerk.guardrails.pii:InputPii",
    "input.injection": "genwerk.guardrails.injection:Injection",
    "passage.injection": "genwerk.guardrails.injection:PassageInjection",
    "output.pii": "genwerk.guardrails.pii:OutputPii",
    "output.grounding": "genwerk.guardrails.grounding:Grounding",
}
