"""`Estimate`: what a job will take, counted before it costs anything."""

from __future__ import annotations

from soaptune.config import Config

__all__ = ["Estimate"]


class Estimate(Config):
    """What asking a model for all rows will take, before it is done."""

    rows: int
    """Rows of the source."""
    answered: int
    """Rows that have an answer already and are not asked again."""
    input_tokens: int
    """Tokens of the prompts of the rows that are left."""
    output_tokens_at_most: int
    """Tokens of their answers, if each is as long as it may be."""
    counted_by: str
    """``"AI_COUNT_TOKENS"``, or ``"characters"``: four to a token, where the account does not count for this model."""

    def credits(self, *, input_rate: float, output_rate: float) -> tuple[float, float]:
        """The credits of the prompts alone, and those with the longest answers.

        Args:
            input_rate: Credits for a million input tokens, as Snowflake's consumption table has it for the model.
            output_rate: Credits for a million output tokens.
        """
        least = self.input_tokens * input_rate / 1e6
        return least, least + self.output_tokens_at_most * output_rate / 1e6
