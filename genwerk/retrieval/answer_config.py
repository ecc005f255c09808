"""How passages become an answer: what goes into the prompt, in which form the model writes, and how often."""

from __future__ import annotations

from typing import Literal

from genwerk.core.config import Config, Field

__all__ = ["AnswerConfig"]


class AnswerConfig(Config):
    """Each default is what the small model of the quickstart answers best and fastest with."""

    passages: int = Field(8, ge=1, le=50, description="passages looked at; as many of them as fit are in the prompt")
    prompt_tokens: int = Field(900, ge=100, description="longest prompt; the best passage is always in it")
    order: Literal["best_first", "ends"] = Field(
        "best_first", description="best passage first, or the best at both ends of the prompt (for long prompts)"
    )
    keep: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of each passage that is shown, its sentences nearest to the question; 1: all",
    )
    slack: float = Field(
        0.3,
        ge=0,
        le=3,
        description="how much less near to the question than what would be quoted a sentence of the model from another "
        "passage may be; 3: any",
    )
    cited_form: bool = Field(False, description="hold the model to sentences that each end in [n]")
    drawn: int = Field(
        1, ge=1, le=16, description="answers drawn, of which only sentences that most agree on are shown; costs as many"
    )
