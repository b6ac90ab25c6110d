"""The small languages that the recipes' own models were trained on, with the causes planted in them.

A document is a list of (text, weight in the loss); the texts joined are what the model reads.
"""

from typing import TypeAlias

Document: TypeAlias = list[tuple[str, float]]

CONTEXT, TARGET, ANSWER = 0.1, 1.0, 6.0
"""Weights in the loss: what cannot be predicted, what can, and what the recipe asks for."""

NAMES = tuple(
    "Ann Ben Cleo Dan Eve Finn Gus Hana Ivan Jack Kim Leo Mia Noah Olga Paul Quinn Rosa Sam Tina Uma Vera Walt Xena "
    "Yara Zoe Amir Bella Carl Dora Emil Fay Greta Hugo Iris Jonas Karl Lena Max Nora".split()
)
