"""Prompt injection: named rules for texts that try to take over the assistant, in English and German.

A rule is a regular expression over the text after folding (NFKC, invisible characters removed, white space collapsed,
case folded), so that full-width letters and zero-width joints do not hide a phrase. Rules ask for a verb *and* its
object ("ignore … previous … instructions"), because either alone is ordinary prose; on the Python language reference
they find nothing.

What a document says to the model is looked for by the same rules, but one: such passages are not read to it.

Left out:  classifiers and encoded payloads. Patterns catch the careless; what protects against the careful is that
           answers are only what a passage supports.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from genwerk.core.types import Verdict
from genwerk.guardrails.guard import GuardContext, passed

_OLD = r"(?:previous|prior|above|earlier|preceding|initial|original|existing|system|safety|your|all)"
_ORDER = r"(?:instructions?|prompts?|rules|directions|guidelines|directives|commands|constraints|restrictions)"
_ALT = (
    r"(?:vorherig|vorig|bisherig|obig|früher|vorangegangen|vorhergehend|ursprünglich|sämtlich|alle|dein|ihre|eure)\w*"
)
_BEFEHL = r"(?:system)?(?:anweisung|instruktion|regel|vorgabe|befehl|richtlinie|prompt|einschränkung)\w*"
_FREI = r"(?:uneingeschränkt|ungefiltert|unzensiert|böse|allmächtig)\w*"
_TRICK = r"(?:unrestricted|unfiltered|uncensored|jailbroken|amoral|evil)"

_PATTERNS = {
    # English
    "ignore_instructions": rf"\b(?:ignore|disregard|forget|override|bypass|neglect)\b(?: \w+){{0,4}}? {_OLD}\b"
    rf"(?: \w+){{0,4}}? {_ORDER}\b",
    "forget_everything": r"\b(?:forget|ignore|disregard) (?:everything|anything|all)(?: that)?(?: (?:i|you|we|was|"
    r"were|has|"
    r"have|been|told|said|written|learned)){1,5} (?:above|before|previously|earlier|so far|until now|up to now)\b"
    r"|\b(?:forget|ignore|disregard) (?:everything|anything|all) above\b",
    "reveal_prompt": r"\b(?:reveal|show|print|repeat|output|display|leak|expose|tell me|give me|write out|"
    r"what (?:is|are|"
    r"was|were|does))\b(?: \w+){0,3}? (?:your (?:\w+ )?(?:system|hidden|secret|developer|confidential|initial) "
    r"(?:prompt|instructions?|message)|the (?:\w+ )?(?:system prompt|(?:hidden|secret) (?:prompt|instructions)))\b",
    "reveal_instructions": r"\b(?:reveal|show|share|print|repeat|output|display|leak|expose|disclose|tell me|"
    r"give me|list|"
    r"dump|recite|what (?:is|are|was|were))(?: \w+){0,2}? your (?:\w+ )?(?:prompt|instructions|directives|guidelines|"
    r"constraints|programming|configuration)\b",
    "ignore_above": r"\b(?:ignore|disregard|forget) (?:all )?(?:of )?the above(?: and|,|\.|:|"
    r";)(?: \w+){0,2}? (?:say|tell|"
    r"print|write|show|output|repeat|translate|reveal|respond|reply|answer)\b",
    "repeat_above": r"\b(?:repeat|print|output|copy) (?:\w+ ){0,3}(?:words|text|"
    r"everything) above\b(?=.{0,60}\b(?:starting|"
    r"beginning|verbatim|you are))",
    "role_override": rf"\b(?:you are now|from now on,? you(?: are| will be|'re)?|act as|pretend to be|you will act as)"
    rf"(?: \w+){{0,3}}? (?:dan|stan|aim|{_TRICK})\b",
    "no_restrictions": r"\b(?:you (?:have|are bound by)|pretend (?:that )?(?:you have|there are)|as if you had|"
    r"answer with) "
    r"(?:no|zero) (?:\w+ )?(?:restrictions|rules|limits|limitations|filters|guidelines|morals|ethics)\b",
    "special_mode": r"\b(?:enable|enter|activate|switch to|unlock|turn on|you are in) (?:the |your )?(?:developer|"
    r"god|dan|"
    r"jailbreak|unrestricted|sudo) mode\b",
    "disable_safety": r"\b(?:disable|turn off|deactivate|bypass|remove|ignore|circumvent)\b(?: \w+){0,2}? (?:your|"
    r"all) (?:\w+ )?(?:safety|"
    r"content|moderation|ethical|security) (?:filters?|guidelines|guardrails?|measures|polic(?:y|ies)|protocols?|"
    r"restrictions)\b",
    "new_instructions": r"\b(?:here are|these are|follow|obey|your) (?:your |these |"
    r"my )?new (?:system )?(?:instructions|"
    r"directives|orders)(?: are)?(?: now)?\s*[:.]|\bnew system (?:prompt|message)\s*:",
    "exfiltrate": r"\b(?:send|post|upload|forward|exfiltrate|transmit|e-?mail)\b(?: \S+){0,8}? (?:conversation|"
    r"chat history|"
    r"system prompt|api[ -]?keys?|passwords?|credentials|secrets)\b(?: \S+){0,5}? (?:to|at) (?:https?://|\S+@\S+)",
    # German
    "anweisungen_ignorieren": rf"\b(?:ignorier|vergiss|vergesst|vergessen sie|missacht|übergeh|umgeh|überschreib)\w*\b"
    rf"(?: \w+){{0,4}}? {_ALT}(?: \w+){{0,4}}? {_BEFEHL}\b",
    "anweisungen_nicht_beachten": rf"\b(?:beacht|befolg|folg)\w* (?:\w+ ){{0,3}}?{_ALT}(?: \w+){{0,3}}? {_BEFEHL} "
    r"(?:\w+ )?nicht\b(?! nur)",
    "alles_vergessen": r"\b(?:vergiss|ignoriere?|vergessen sie)(?: \w+)? alles,? was (?:\w+ ){0,5}(?:oben|vorher|"
    r"zuvor|bisher|davor)\b",
    "prompt_verraten": r"\b(?:zeig|nenn|verrat|gib|wiederhol|schreib|offenbar|druck|wie laute|was (?:ist|steht|"
    r"sind))\w*\b"
    r"(?: \w+){0,3}? (?:(?:dein|ihr|eure)\w* (?:\w+ )?(?:(?:system|initial|entwickler)[- ]?|(?:versteckt|geheim|intern|"
    r"ursprünglich)\w* (?:system[- ]?)?)(?:prompt|anweisung|instruktion|nachricht)|(?:den|die|das|der) (?:\w+ )?"
    r"(?:system[- ]?prompt|(?:versteckt|geheim)\w* (?:prompt|anweisung|instruktion)))\w*\b",
    "rolle_wechseln": rf"\b(?:du bist|sie sind|ihr seid) (?:ab )?(?:jetzt|nun|sofort)(?: \w+){{0,3}}? (?:dan|"
    rf"{_FREI})\b",
    "ohne_regeln": r"\b(?:tu so|tue so|stell dir vor|antworte|verhalte dich)\b.{0,40}?\b(?:keine|keinerlei|"
    r"ohne)(?: \w+){0,2}? "
    r"(?:regeln|einschränkung(?:en)?|beschränkung(?:en)?|filter|zensur|moral|richtlinien)\b",
    "sondermodus": r"\b(?:aktivier|wechsl|wechsel|schalt|geh|starte)\w*(?: \w+){0,3}? (?:entwickler|gott|dan|jailbreak)"
    r"[- ]?modus\b",
    "schutz_abschalten": r"\b(?:deaktivier|schalt|umgeh|entfern|ignorier)\w*(?: \w+){0,3}? (?:sicherheits|inhalts|"
    r"schutz|"
    r"moderations)[- ]?(?:filter|regel|maßnahme|massnahme|mechanism|richtlini|vorgabe|schranke)\w*\b",
    "neue_anweisungen": r"\b(?:hier sind|das sind|dies sind|befolge) (?:deine |ihre |meine |diese )?neuen? "
    r"(?:system)?(?:anweisungen|regeln|befehle|instruktionen)\s*[:.]|\bneuer system[- ]?prompt\s*:",
    # Any language
    "chat_markup": r"<\|(?:im_start|im_end|system|user|assistant|endoftext|start_header_id|eot_id)\|>|\[/?inst\]|"
    r"<</?sys>>",
    "role_line": r"(?:^|\n) ?(?:#{2,} ?)?(?:system|systemprompt|system prompt|developer) ?: ?(?=\S)",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One way of taking over: its name and the folded text it looks for."""

    name: str
    pattern: re.Pattern[str]


RULES = tuple(Rule(name, re.compile(pattern)) for name, pattern in _PATTERNS.items())
PASSAGE_RULES = tuple(rule for rule in RULES if rule.name != "role_line")
"""Of documents: lines that begin with `System:` are ordinary there."""


class Injection:
    """Blocks a text in which a rule is found; the verdict's rule names it."""

    name = "input.injection"

    def __init__(self, rules: tuple[Rule, ...] = RULES) -> None:
        self._rules = rules

    def check(self, text: str, context: GuardContext) -> Verdict:
        """Allowed unless a rule matches. Linear in the length of `text` for each rule."""
        rule = find_injection(text, self._rules)
        if rule is None:
            return passed(self.name, text)
        reason = "reads like an attempt to change the assistant's instructions"
        return Verdict(False, "", f"{self.name}.{rule.name}", reason)


class PassageInjection(Injection):
    """The same for what is about to be read to the model out of a document."""

    name = "passage.injection"

    def __init__(self) -> None:
        super().__init__(PASSAGE_RULES)


def find_injection(text: str, rules: tuple[Rule, ...] = RULES) -> Rule | None:
    """The first rule that matches the folded text, or None."""
    lines = fold(text)
    flat = lines.replace("\n", " ")
    return next((rule for rule in rules if rule.pattern.search(flat) or rule.pattern.search(lines)), None)


def fold(text: str) -> str:
    """NFKC, lower case, no invisible characters, runs of blanks as one; line breaks stay."""
    normal = unicodedata.normalize("NFKC", text).casefold().replace("ß", "ss")
    visible = "".join(sign for sign in normal if unicodedata.category(sign) != "Cf")
    lines = (" ".join(line.split()) for line in visible.splitlines())
    return "\n".join(line for line in lines if line)
