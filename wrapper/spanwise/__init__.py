"""Which parts of the input made this language model write that span?"""

from spanwise._version import __version__
from spanwise.aggregation import aggregate
from spanwise.api import attribute
from spanwise.attribution import Attribution, Provenance, Span, Token
from spanwise.compat.pipelines import explain
from spanwise.errors import AttributionError, AttributionWarning
from spanwise.evaluation.drift import compare_precision
from spanwise.evaluation.drift_result import Drift
from spanwise.evaluation.ground_truth import Example, ground_truth
from spanwise.methods import MethodInfo, list_methods
from spanwise.model.language_model import LanguageModel
from spanwise.model.loading import load_model
from spanwise.model.planning.plan import Plan
from spanwise.model.planning.planner import plan
from spanwise.previewing import Preview, preview
from spanwise.scoring.contrast import contrast
from spanwise.scoring.objectives import kl, probe
from spanwise.text.prompts import documents, product_baselines, template
from spanwise.text.spans import role, tokens

__all__ = [
    "Attribution",
    "AttributionError",
    "AttributionWarning",
    "Drift",
    "Example",
    "LanguageModel",
    "MethodInfo",
    "Plan",
    "Preview",
    "Provenance",
    "Span",
    "Token",
    "__version__",
    "aggregate",
    "attribute",
    "compare_precision",
    "contrast",
    "documents",
    "explain",
    "ground_truth",
    "kl",
    "list_methods",
    "load_model",
    "plan",
    "preview",
    "probe",
    "product_baselines",
    "role",
    "template",
    "tokens",
]
