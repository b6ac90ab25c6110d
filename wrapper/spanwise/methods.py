"""The table of methods: one row each, to be read.

To add a method: a row here, and a runner under its name in the engine that has it (`spanwise/engines/`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from spanwise.errors import OptionError, one_of

PATH_BASELINES = ("unk", "token:.", "zero")
PERTURBATION_BASELINES = ("unk", "zero")
"""The default baselines, in order of preference: the first one that the tokenizer has.

Chosen by evidence on the bundled model: share of 200 held-out prompts (standard error .035; guessing .1) whose top
source token is a planted cause, and for integrated gradients (32 steps) the median completeness gap:

                          unk            zero           pad            mean           token:.
    integrated gradients  .54, 0.0 %     .45, 62 %      .38, 0.6 %     .26, 0.7 %     .22, 0.9 %
    feature ablation      .99            .81            .35            .35            .22

The unknown token is best twice over, and is also Captum's default wherever its id is 0 (Llama 2, Mistral). A zero
baseline comes second, but is not complete: RMSNorm does not see scale, so the path is a step at its beginning. Path
methods without an unknown token therefore take a token that every model has met in every context; in another training
run of the same model it reached .60, so nothing here is settled: compare baselines on your own question. The bundled
model was trained to read its unknown token as "absent"; the one of another model may be untrained.
"""

GAUSS_LEGENDRE_LIMIT = 1000
"""Captum takes the points from an eigenvalue problem of that size: seconds at 2,000, all memory at 50,000."""

SMOOTHGRAD_NOISE = 0.15
"""Smilkov et al.: 10 to 20 % of the range of the input's values."""

FEWEST_STEPS = 8
"""The first order that n_steps="auto" tries."""

LIMITS: Mapping[str, str] = MappingProxyType({"n_steps": "max_steps", "n_samples": "max_samples"})
"""For an option that may be "auto" the one that ends it."""

SHAPLEY_VALUES_LIMIT = 8
"""Exact Shapley values visit every order of the features: 8! = 40,320 of them, over 256 distinct inputs."""


@dataclass(frozen=True)
class Option:
    """A method's own option: its default, what it means, and the values it may take.

    Attributes:
        default: The value when it is not given.
        doc: What it does, with its unit.
        least: Smallest integer or number allowed, for a number.
        choices: The names allowed, for a name.
        of: The option that must be "auto" for this one to mean something; "" where it always does.
        auto: Its default where that one is "auto".
    """

    default: Any
    doc: str
    least: float | None = None
    choices: tuple[str, ...] = ()
    of: str = ""
    auto: Any = None


@dataclass(frozen=True)
class MethodInfo:
    """What a method is, what it promises and what it costs.

    Attributes:
        name: As `attribute(method=...)` takes it.
        family: "gradient", "perturbation" or "attention".
        engines: Engines on which it works.
        summary: One line.
        paper: Where it comes from, with the equation or algorithm.
        signed: Scores say for or against, not only how much.
        complete: Scores sum to the change of the objective from the baseline to the input.
        linear: Rows of the token matrix add up to the span's scores.
        additive: Where features do not act on each other, a score is the effect of its feature alone: the objective
            with it minus the objective without it.
        token_matrix: It gives one row a target token; else span scores only.
        baselines: What a feature becomes by default when it is off: the first that the tokenizer has. Empty for a
            method without a baseline. See `PATH_BASELINES` for the evidence.
        sampled: Its scores depend on `seed`.
        unit: Of a score: "objective" (nats for log_prob), "objective per embedding unit", "share of importance",
            "log-odds", "attention weight" or "attention flow".
        cost: Forwards and backwards, as a formula in features F, target rows T and its options.
        work: The same, as a function of F, T and the options that returns (forwards, backwards). A perturbation method
            that does not sample counts the input with every feature on, whether it asks for it or not: the target's
            scores, which every `attribute` needs, stand in for it (`work_in_all`). Exact, unless `cost` begins with
            "at most".
        needs: Optional packages.
        caveat: What the field knows against it.
        options: Its own options.
        unsigned_on: Engines that keep no sign of a method that has one.
        refused: Engines that lack it, with the reason.
    """

    name: str
    family: str
    engines: tuple[str, ...]
    summary: str
    paper: str
    signed: bool
    complete: bool
    linear: bool
    cost: str
    work: Callable[[int, int, Mapping[str, Any]], tuple[int, int]]
    additive: bool = False
    token_matrix: bool = True
    baselines: tuple[str, ...] = PERTURBATION_BASELINES
    sampled: bool = False
    unit: str = "objective"
    needs: tuple[str, ...] = ()
    caveat: str = ""
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    unsigned_on: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def uses_baseline(self) -> bool:
        """Whether `baseline=` means something to it."""
        return bool(self.baselines)

    @property
    def reads_objective(self) -> bool:
        """Whether `objective=` means something to it."""
        return self.unit.startswith("objective")

    def work_in_all(self, engine: str, features: int, rows: int, options: Mapping[str, Any]) -> tuple[int, int]:
        """Returns forwards and backwards of a whole `attribute`, at most.

        Beside the method's own: the target's scores, which also stand in wherever every feature is on, and the
        baseline's where completeness is checked.
        """
        forwards, backwards = self.work(features, rows, options)
        begins_all_on = self.family == "perturbation" and engine != "inseq" and not self.sampled
        return forwards + 1 + self.complete - begins_all_on, backwards

    def as_dict(self) -> dict[str, Any]:
        """Returns the row as values that JSON has."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "work"}
        values["options"] = {name: asdict(option) for name, option in self.options.items()}
        values["refused"] = dict(self.refused)
        return values

    def checked_options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the method's options, the given ones over the defaults.

        Raises:
            OptionError: An option that the method does not have, a value out of its range, or a limit for another
                option that was not asked as "auto".
        """
        for name, value in given.items():
            if not self.options:
                raise OptionError(f"{self.name} has no options of its own, but {name!r} was given.")
            option = self.options[one_of(f"option of {self.name}", name, self.options)]
            _check(f"{self.name}'s option {name}", option, value)
        values = {name: given.get(name, option.default) for name, option in self.options.items()}
        for name, option in self.options.items():
            if option.of and values[option.of] != "auto" and values[name] is not None:
                raise OptionError(
                    f"{self.name}'s option {name} says when {option.of}='auto' stops, but {option.of} is "
                    f"{values[option.of]!r}: give one of the two."
                )
            if option.of and values[option.of] == "auto" and values[name] is None:
                values[name] = option.auto
        return values


def _check(what: str, option: Option, value: Any) -> None:
    if option.choices and option.least is None:
        one_of(what, value, option.choices)
    elif (value is None and option.default is None) or (isinstance(value, str) and value in option.choices):
        return
    elif option.least is not None:
        kind = int if isinstance(option.least, int) else float
        number = value if not isinstance(value, bool) else None
        if not isinstance(number, int if kind is int else (int, float)) or not number >= option.least:
            name = "an integer" if kind is int else "a number"
            names = "".join(f" or {choice!r}" for choice in option.choices)
            raise OptionError(f"{what} must be {name} of at least {option.least:g}{names}, not {value!r}.")


def steps_tried(most: int) -> list[int]:
    """Returns the numbers of points that n_steps="auto" tries, one after another, up to `most`.

    >>> steps_tried(50)
    [8, 16, 32, 50]
    """
    tried = [min(FEWEST_STEPS, most)]
    while tried[-1] < most:
        tried.append(min(2 * tried[-1], most))
    return tried


def _points(options: Mapping[str, Any]) -> int:
    """Returns the points on the path in all, at most: of each order that is tried, since theirs are not the same."""
    asked = options["n_steps"]
    return sum(steps_tried(options["max_steps"])) if asked == "auto" else int(asked)


def _samples(options: Mapping[str, Any]) -> int:
    """Returns the samples, at most."""
    return int(options["max_samples"] if options["n_samples"] == "auto" else options["n_samples"])


_REDUCTION = Option(
    "sum", "how the hidden axis becomes one score: a signed sum, or its length", choices=("sum", "l2_norm")
)
_N_STEPS = Option(50, "points on the path from the baseline to the input", least=1)
_QUADRATURE = Option(
    "gausslegendre",
    "Captum's quadrature",
    choices=("gausslegendre", "riemann_trapezoid", "riemann_middle", "riemann_left", "riemann_right"),
)
_AUTO_STEPS = {
    "n_steps": Option(_N_STEPS.default, f"{_N_STEPS.doc}; 'auto': 8, 16, 32, ... until the tolerance", 1, ("auto",)),
    "tolerance": Option(
        None, "with n_steps='auto': the completeness gap to come under; default 0.01", 1e-6, of="n_steps", auto=0.01
    ),
    "max_steps": Option(None, "with n_steps='auto': the most points tried; default 256", 1, of="n_steps", auto=256),
}
_INTERNAL = Option(None, "points that Captum hands over at a time; default: all, split by batch_size", least=1)


def _auto_samples(default: int, doc: str, least: int, most: int) -> dict[str, Option]:
    """Returns the options of a method that can go on sampling until its standard errors are small."""
    return {
        "n_samples": Option(default, f"{doc}; 'auto': more and more until the tolerance", least, ("auto",)),
        "tolerance": Option(
            None,
            "with n_samples='auto': the largest standard error to come under, as a share of the largest |score|; "
            "default 0.05",
            1e-6,
            of="n_samples",
            auto=0.05,
        ),
        "max_samples": Option(
            None, f"with n_samples='auto': the most samples taken; default {most}", least, of="n_samples", auto=most
        ),
    }


_ADDITIVE = "assumes that features add up, which a transformer's do not"
_ZERO_PATH = "the baseline is a choice, and rankings change with it; from zero the path is a step under RMSNorm"

_TABLE = (
    MethodInfo(
        "saliency",
        "gradient",
        ("captum", "inseq"),
        "length of the objective's gradient at each embedding",
        "Simonyan et al. 2013, arXiv:1312.6034, eq. 4; the l2 norm over the hidden axis instead of the largest entry",
        signed=False,
        complete=False,
        linear=False,
        cost="1 forward, T backwards",
        work=lambda f, t, o: (1, t),
        baselines=(),
        unit="objective per embedding unit",
        caveat="says where the output is sensitive, not what made it; saturates",
        options={"reduction": Option("l2_norm", _REDUCTION.doc, choices=("l2_norm", "sum"))},
    ),
    MethodInfo(
        "input_x_gradient",
        "gradient",
        ("captum", "inseq"),
        "gradient times embedding, summed over the hidden axis",
        "Shrikumar et al. 2016, arXiv:1605.01713, section 2",
        signed=True,
        complete=False,
        linear=True,
        additive=True,
        cost="1 forward, T backwards",
        work=lambda f, t, o: (1, t),
        baselines=(),
        caveat="first order only; near zero in sum under RMSNorm, which does not see scale",
        options={"reduction": _REDUCTION},
    ),
    MethodInfo(
        "integrated_gradients",
        "gradient",
        ("captum", "inseq"),
        "gradients averaged along the straight path from the baseline, times the way",
        "Sundararajan et al. 2017, arXiv:1703.01365, eq. 1",
        signed=True,
        complete=True,
        linear=True,
        additive=True,
        cost="n_steps forwards, n_steps x T backwards",
        work=lambda f, t, o: (_points(o), _points(o) * t),
        baselines=PATH_BASELINES,
        caveat=_ZERO_PATH,
        options={
            **_AUTO_STEPS,
            "method": _QUADRATURE,
            "internal_batch_size": _INTERNAL,
        },
    ),
    MethodInfo(
        "gradient_shap",
        "gradient",
        ("captum", "inseq"),
        "gradients at random points between baseline and (noisy) input, times the way",
        "Lundberg & Lee 2017, arXiv:1705.07874; expected gradients, Erion et al. 2019, arXiv:1906.10670, eq. 4",
        signed=True,
        complete=False,
        linear=True,
        additive=True,
        cost="n_samples forwards, n_samples x T backwards",
        work=lambda f, t, o: (o["n_samples"], o["n_samples"] * t),
        sampled=True,
        baselines=PATH_BASELINES,
        caveat="complete only in expectation; few samples are noise. " + _ZERO_PATH,
        options={
            "n_samples": Option(20, "random points", least=1),
            "stdevs": Option(0.0, "standard deviation of the noise, in embedding units", least=0.0),
        },
    ),
    MethodInfo(
        "deeplift",
        "gradient",
        ("inseq",),
        "differences from the baseline carried back through the layers",
        "Shrikumar et al. 2017, arXiv:1704.02685, section 3 (rescale rule)",
        signed=True,
        complete=False,
        linear=True,
        additive=True,
        cost="2 x T forwards and backwards",
        work=lambda f, t, o: (2 * t, 2 * t),
        baselines=PATH_BASELINES,
        caveat="its rules know no layer of today's language models: there it is gradient x (input - baseline)",
    ),
    MethodInfo(
        "discretized_integrated_gradients",
        "gradient",
        ("inseq",),
        "gradients along a path through the embeddings of neighboring tokens, times the way",
        "Sanyal & Ren 2021, arXiv:2108.13654, eq. 3",
        signed=True,
        complete=False,
        linear=True,
        cost="n_steps x T forwards and backwards",
        work=lambda f, t, o: (o["n_steps"] * t, o["n_steps"] * t),
        baselines=("unk", "token:.", "pad"),
        needs=("sklearn",),
        caveat="its sum misses much of the change; the baseline must be a token",
        options={
            "n_steps": _N_STEPS,
            "strategy": Option("greedy", "how the next token of the path is chosen", choices=("greedy", "maxcount")),
        },
    ),
    MethodInfo(
        "sequential_integrated_gradients",
        "gradient",
        ("inseq",),
        "integrated gradients of each token alone, all others left as they are",
        "Enguehard 2023, arXiv:2305.15853, eq. 4",
        signed=True,
        complete=False,
        linear=True,
        additive=True,
        cost="S x n_steps x T forwards and backwards (S: positions)",
        work=lambda f, t, o: (f * o["n_steps"] * t, f * o["n_steps"] * t),
        baselines=PATH_BASELINES,
        caveat="each score is a single token's ablation effect, at a high price",
        options={"n_steps": _N_STEPS, "method": _QUADRATURE, "internal_batch_size": _INTERNAL},
    ),
    MethodInfo(
        "uniform_discretized_integrated_gradients",
        "gradient",
        ("native",),
        "gradients along a monotone path from the baseline through the embeddings of words, times the way",
        "Sinha Roy & Kundu 2024, arXiv:2412.03886; its sum and monotonizing from Sanyal & Ren 2021, arXiv:2108.13654",
        signed=True,
        complete=True,
        linear=True,
        additive=True,
        cost="n_steps x 2^factor forwards, n_steps x 2^factor x T backwards",
        work=lambda f, t, o: (o["n_steps"] * 2 ** o["factor"], o["n_steps"] * 2 ** o["factor"] * t),
        baselines=("unk", "mean"),
        caveat="its path is longer and less smooth than the straight one: at equal cost it misses more of the change",
        options={
            "n_steps": Option(30, "steps from the baseline to the input; n_steps - 1 words anchor the path", least=1),
            "factor": Option(1, "times that midpoints are put between the points of the path", least=0),
            "neighbors": Option(50, "words around each uniform point from which its anchor is taken", least=1),
            "strategy": Option(
                "greedy",
                "the anchor moved least when made monotone, or the one with most dimensions left alone",
                choices=("greedy", "maxcount"),
            ),
            "method": Option(
                "riemann_middle",
                "where in a step the gradient is taken; the paper's is riemann_left",
                choices=("riemann_middle", "riemann_left"),
            ),
        },
    ),
    MethodInfo(
        "smoothgrad",
        "gradient",
        ("captum",),
        "length of the mean gradient over noisy copies of the embeddings",
        "Smilkov et al. 2017, arXiv:1706.03825, section 3",
        signed=False,
        complete=False,
        linear=False,
        cost="n_samples forwards, n_samples x T backwards",
        work=lambda f, t, o: (o["n_samples"], o["n_samples"] * t),
        baselines=(),
        sampled=True,
        unit="objective per embedding unit",
        caveat="the noise leaves the embeddings that any text has",
        options={
            "n_samples": Option(20, "noisy copies", least=1),
            "stdevs": Option(
                None,
                f"standard deviation of the noise; default: {SMOOTHGRAD_NOISE} of the embeddings' range",
                least=0.0,
            ),
            "reduction": Option("l2_norm", _REDUCTION.doc, choices=("l2_norm", "sum")),
        },
    ),
    MethodInfo(
        "feature_ablation",
        "perturbation",
        ("captum", "inseq"),
        "drop of the objective when one feature is replaced by its baseline",
        "Zeiler & Fergus 2013, arXiv:1311.2901, section 4.2 (occlusion); Li et al. 2016, arXiv:1612.08220, eq. 1",
        signed=True,
        complete=False,
        linear=True,
        additive=True,
        cost="F + 1 forwards",
        work=lambda f, t, o: (f + 1, 0),
        unsigned_on=("inseq",),
        caveat="blind to causes that back each other up; depends on what the baseline is",
    ),
    MethodInfo(
        "shapley_value_sampling",
        "perturbation",
        ("captum",),
        "mean marginal effect of a feature over random orders of switching on",
        "Castro et al. 2009, doi:10.1016/j.cor.2008.04.004, algorithm 1; Strumbelj & Kononenko 2010",
        signed=True,
        complete=True,
        linear=True,
        additive=True,
        cost="at most n_samples x (F - 1) + 2 forwards",
        work=lambda f, t, o: (_samples(o) * (f - 1) + 2, 0),
        sampled=True,
        caveat="averages over inputs that no text has",
        options=_auto_samples(25, "random orders of the features", least=1, most=1024),
    ),
    MethodInfo(
        "shapley_values",
        "perturbation",
        ("captum",),
        f"exact Shapley values, for at most {SHAPLEY_VALUES_LIMIT} features",
        "Shapley 1953; Lundberg & Lee 2017, arXiv:1705.07874, eq. 4",
        signed=True,
        complete=True,
        linear=True,
        additive=True,
        cost="2^F forwards",
        work=lambda f, t, o: (2**f, 0),
        caveat="averages over inputs that no text has",
    ),
    MethodInfo(
        "kernel_shap",
        "perturbation",
        ("captum",),
        "Shapley values as a weighted linear regression over random subsets of features",
        "Lundberg & Lee 2017, arXiv:1705.07874, theorem 2",
        signed=True,
        complete=True,
        linear=False,
        additive=True,
        cost="at most n_samples forwards, for all spans together",
        work=lambda f, t, o: (_samples(o), 0),
        token_matrix=False,
        sampled=True,
        needs=("sklearn",),
        caveat=_ADDITIVE,
        options=_auto_samples(256, "random subsets", least=3, most=4096),
    ),
    MethodInfo(
        "lime",
        "perturbation",
        ("captum",),
        "coefficients of a sparse linear surrogate around the input",
        "Ribeiro et al. 2016, arXiv:1602.04938, eq. 1",
        signed=True,
        complete=False,
        linear=False,
        additive=True,
        cost="at most n_samples forwards, for all spans together",
        work=lambda f, t, o: (o["n_samples"], 0),
        token_matrix=False,
        sampled=True,
        needs=("sklearn",),
        caveat=_ADDITIVE + "; the kernel and the penalty are choices",
        options={
            "n_samples": Option(256, "random subsets", least=1),
            "alpha": Option(0.01, "weight of the Lasso penalty", least=0.0),
        },
    ),
    MethodInfo(
        "reagent",
        "perturbation",
        ("inseq",),
        "share of importance, learned from which random replacements keep the target token likely",
        "Zhao & Shan 2024, arXiv:2402.00794, algorithm 1",
        signed=False,
        complete=False,
        linear=False,
        cost="at most 1 + T x num_probes x (1 + 2 x max_probe_steps) forwards",
        work=lambda f, t, o: (1 + t * o["num_probes"] * (1 + 2 * o["max_probe_steps"]), 0),
        baselines=(),
        sampled=True,
        unit="share of importance",
        caveat="needs the target among the model's likeliest tokens; knows no objective",
        options={
            "keep_top_n": Option(5, "tokens kept in the stopping test", least=1),
            "replacing_ratio": Option(0.3, "share of tokens replaced in a probe", least=0.0),
            "stopping_condition_top_k": Option(3, "the target must be among so many likeliest tokens", least=1),
            "max_probe_steps": Option(3000, "most steps of a probe", least=1),
            "num_probes": Option(16, "probes in parallel", least=1),
        },
    ),
    MethodInfo(
        "value_zeroing",
        "perturbation",
        ("inseq",),
        "how much a block's output turns when one token's values are zeroed, as a share",
        "Mohebbi et al. 2023, arXiv:2301.12971, eq. 2",
        signed=False,
        complete=False,
        linear=False,
        cost="S + 1 forwards (S: positions)",
        work=lambda f, t, o: (f + 1, 0),
        baselines=(),
        unit="share of importance",
        caveat="looks at one block at a time; knows no objective",
        options={
            "layer": Option("mean", "which layer, counted from 0; or all averaged, or the last", 0, ("mean", "last"))
        },
    ),
    MethodInfo(
        "context_cite",
        "perturbation",
        ("native",),
        "weights of a sparse linear model of the span's log-odds, fitted to random subsets of sentences or documents",
        "Cohen-Wang et al. 2024, arXiv:2409.00729, section 3 (ContextCite)",
        signed=True,
        complete=False,
        linear=False,
        cost="at most n_ablations forwards, for all spans together",
        work=lambda f, t, o: (o["n_ablations"], 0),
        token_matrix=False,
        baselines=("delete",),
        sampled=True,
        unit="log-odds",
        needs=("sklearn",),
        caveat="32 ablations tell a few causes apart among sentences or documents, not among hundreds of tokens; "
        + _ADDITIVE,
        options={
            "n_ablations": Option(32, "random subsets of the features", least=2),
            "alpha": Option(0.01, "weight of the Lasso penalty, on standardized features; 0: least squares", least=0.0),
        },
    ),
    MethodInfo(
        "hierarchical_ablation",
        "perturbation",
        ("native",),
        "feature ablation of messages, paragraphs, sentences and then tokens, only inside those that mattered",
        "after Liu et al. 2025, arXiv:2411.15102 (AttriBoT), hierarchical attribution",
        signed=True,
        complete=False,
        linear=False,
        additive=True,
        cost="at most min(F, forwards) + 1 forwards, for all rows together",
        work=lambda f, t, o: (min(f, o["forwards"]) + 1, 0),
        needs=("sentencex",),
        caveat="features never switched off alone share their group's effect evenly; blind to causes that cancel out "
        "or back each other up",
        options={
            "forwards": Option(96, "most inputs tried beside the unchanged one", least=16),
            "expand": Option(1, "groups opened at a time, the strongest first; more: fewer, larger batches", least=1),
        },
    ),
    MethodInfo(
        "attention",
        "attention",
        ("native", "inseq"),
        "attention weight from the position that predicts a target token; a span is the mean of its tokens",
        "Vaswani et al. 2017, arXiv:1706.03762, eq. 1",
        signed=False,
        complete=False,
        linear=False,
        cost="1 forward",
        work=lambda f, t, o: (1, 0),
        baselines=(),
        unit="attention weight",
        caveat="attention is not explanation (arXiv:1902.10186)",
        options={
            "layer": Option("mean", "which layer, counted from 0; or all averaged, or the last", 0, ("mean", "last")),
            "head": Option("mean", "which head, counted from 0; or all averaged, or the largest", 0, ("mean", "max")),
        },
    ),
    MethodInfo(
        "attention_rollout",
        "attention",
        ("native",),
        "attention multiplied through the layers, half of each position its own; a span is the mean of its tokens",
        "Abnar & Zuidema 2020, arXiv:2005.00928, eq. 1",
        signed=False,
        complete=False,
        linear=False,
        cost="1 forward",
        work=lambda f, t, o: (1, 0),
        baselines=(),
        unit="attention weight",
        caveat="knows neither values nor MLPs",
    ),
    MethodInfo(
        "attention_flow",
        "attention",
        ("native",),
        "largest flow down the attention graph from where a token is predicted; a span is the mean of its tokens",
        "Abnar & Zuidema 2020, arXiv:2005.00928, section 3",
        signed=False,
        complete=False,
        linear=False,
        cost="1 forward, and F x T maximum flows on the CPU",
        work=lambda f, t, o: (1, 0),
        baselines=(),
        unit="attention flow",
        needs=("scipy",),
        caveat="knows neither values nor MLPs; slow for long inputs",
    ),
)

ENGINES = ("captum", "inseq", "native")
ALIASES: Mapping[str, str] = MappingProxyType(
    {"occlusion": "feature_ablation", "udig": "uniform_discretized_integrated_gradients"}
)
_LACKS = {"captum": "Captum does not have it", "inseq": "Inseq does not have it"}
_REASONS = {
    ("lime", "inseq"): "Inseq 0.7.1's LIME adds the integer id of the unknown token to the embeddings",
    ("deeplift", "captum"): "Captum offers it for modules with activations that language models do not use",
}


def _with_refusals(row: MethodInfo) -> MethodInfo:
    """Returns the row with a reason for every engine that lacks the method."""
    reasons = _LACKS | {
        "native": f"native methods are those that neither engine has, and {row.engines[0]} has this one"
    }
    missing = [engine for engine in ENGINES if engine not in row.engines]
    found = {engine: _REASONS.get((row.name, engine), reasons[engine]) for engine in missing}
    return replace(row, refused=MappingProxyType(found))


METHODS: Mapping[str, MethodInfo] = MappingProxyType({row.name: _with_refusals(row) for row in _TABLE})


def list_methods() -> list[MethodInfo]:
    """Returns every method, in the order of the table: gradients first, cheapest first in each family.

    >>> [method.name for method in list_methods()][:3]
    ['saliency', 'input_x_gradient', 'integrated_gradients']
    """
    return list(METHODS.values())


def find_method(name: str) -> MethodInfo:
    """Returns the row of a method, given by its name or an alias.

    Raises:
        OptionError: There is none of that name.
    """
    return METHODS[one_of("method", ALIASES.get(name, name), METHODS)]
