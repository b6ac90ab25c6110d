"""Which parts of the input made this language model write that span?"""

from spanwise import testing
from spanwise._version import __version__
from spanwise.aggregation import aggregate
from spanwise.api import attribute
from spanwise.attribution import Attribution, Provenance, Span, Token
from spanwise.batch.many import attribute_many
from spanwise.batch.run import Run, open_run
from spanwise.compat.pipelines import explain
from spanwise.errors import AttributionError, AttributionWarning
from spanwise.evaluation.checklist.checklist import checklist
from spanwise.evaluation.checklist.result import Checklist
from spanwise.evaluation.comparison.compare import compare
from spanwise.evaluation.comparison.comparison import Comparison
from spanwise.evaluation.drift.drift import compare_precision
from spanwise.evaluation.drift.result import Drift
from spanwise.evaluation.faithfulness.evaluate import evaluate
from spanwise.evaluation.faithfulness.evaluation import Evaluation
from spanwise.evaluation.planted.ground_truth import Example, ground_truth
from spanwise.evaluation.sanity.result import Sanity
from spanwise.evaluation.sanity.sanity import sanity
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
    "Checklist",
    "Comparison",
    "Drift",
    "Evaluation",
    "Example",
    "LanguageModel",
    "MethodInfo",
    "Plan",
    "Preview",
    "Provenance",
    "Run",
    "Sanity",
    "Span",
    "Token",
    "__version__",
    "aggregate",
    "attribute",
    "attribute_many",
    "checklist",
    "compare",
    "compare_precision",
    "contrast",
    "documents",
    "evaluate",
    "explain",
    "ground_truth",
    "kl",
    "list_methods",
    "load_model",
    "open_run",
    "plan",
    "preview",
    "probe",
    "product_baselines",
    "role",
    "sanity",
    "template",
    "testing",
    "tokens",
]
