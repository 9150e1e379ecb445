"""The Churninator Forge: teach a small vision-language model to read a screenshot and answer with an action."""

__version__ = "0.2.0"
