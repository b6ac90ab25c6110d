"""Which parts of the input made this language model write that span?"""

from spanwise._version import __version__
from spanwise.api import attribute
from spanwise.attribution import Attribution, Provenance, Span, Token
from spanwise.errors import AttributionError, AttributionWarning
from spanwise.evaluation.ground_truth import Example, ground_truth
from spanwise.methods import MethodInfo, list_methods
from spanwise.model.language_model import LanguageModel
from spanwise.model.loading import load_model
from spanwise.scoring.contrast import contrast
from spanwise.scoring.objectives import kl, probe
from spanwise.text.spans import tokens

__all__ = [
    "Attribution",
    "AttributionError",
    "AttributionWarning",
    "Example",
    "LanguageModel",
    "MethodInfo",
    "Provenance",
    "Span",
    "Token",
    "__version__",
    "attribute",
    "contrast",
    "ground_truth",
    "kl",
    "list_methods",
    "load_model",
    "probe",
    "tokens",
]
