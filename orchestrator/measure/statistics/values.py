"""What statistics answer with: an estimate with its interval, or the reason why there is none.

Light on purpose: views import this without numpy. The functions that fill these values are in the sibling modules.
"""

from typing import Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from orchestrator.core.values import SubtaskId, Value

LEVEL = 0.95
"""The level at which intervals are given unless somebody asks for another."""


class Refusal(Value):
    """Something that was asked for and is not computed; `reason` completes the sentence *there is no figure, because …*."""

    reason: str = Field(min_length=1)


class Interval(Value):
    """An estimate, and between which bounds the true value lies in `level` of all experiments like this one.

    None is *undefined*, never zero: without an estimate there are no bounds either; a single missing bound means that nothing
    limits the value on that side. `reason` says why something is missing. `n` counts what was drawn independently (runs, subtasks
    or families), which is what the width depends on. `method` names the computation, for people.
    """

    estimate: FiniteFloat | None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    level: FiniteFloat = Field(default=LEVEL, gt=0, lt=1)
    method: str
    n: int = Field(ge=0)
    reason: str = ""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.estimate is None and (self.low is not None or self.high is not None):
            raise ValueError("bounds without an estimate")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"the bounds are the wrong way round: {self.low!r}, {self.high!r}")
        if (self.estimate is None or self.low is None or self.high is None) and not self.reason:
            raise ValueError("what is missing needs a reason")
        return self

    @property
    def is_bounded(self) -> bool:
        """Whether both bounds are known."""
        return self.low is not None and self.high is not None

    def excludes(self, value: float) -> bool:
        """Whether the value is beyond a bound. An interval without bounds excludes nothing."""
        return (self.low is not None and value < self.low) or (self.high is not None and value > self.high)


def undefined(method: str, reason: str, *, n: int = 0, level: float = LEVEL, estimate: float | None = None) -> Interval:
    """Build an interval that has no bounds, and says why; `estimate` may be known all the same."""
    return Interval(estimate=estimate, level=level, method=method, n=n, reason=reason)


class Residual(Value):
    """How far one run is from a fitted curve: `relative` is (measured - fitted) / fitted of its time for a unit of work."""

    agents: int
    repeat: int
    relative: FiniteFloat


class Goodness(Value):
    """How well a curve fits. `relative_error` is the residuals' root mean square over their degrees of freedom.

    `lack_of_fit_p`: how often runs would scatter around the curve this much more than around their own means, were the curve true;
    None where no number of agents was repeated. `warnings` say what the model cannot have.
    """

    residuals: tuple[Residual, ...]
    relative_error: FiniteFloat
    degrees_of_freedom: int
    lack_of_fit_p: FiniteFloat | None
    warnings: tuple[str, ...] = ()


class AmdahlFit(Value):
    """S(N) = 1 / (s + (1-s)/N). `serial_share` is s; `ceiling` is 1/s, what S(N) tends to; `throughput_of_one` is the fitted X(1)."""

    serial_share: Interval
    ceiling: Interval
    throughput_of_one: FiniteFloat
    goodness: Goodness


class UslFit(Value):
    """X(N) = γN / (1 + α(N-1) + βN(N-1)). `throughput_of_one` is γ, in the unit of the measured throughput.

    `contention` is α, `coherency` is β; `peak` is N* = √((1-α)/β), refused where β's interval does not exclude 0.
    """

    throughput_of_one: FiniteFloat
    contention: Interval
    coherency: Interval
    peak: Interval | Refusal
    goodness: Goodness

    def throughput(self, agents: float) -> float:
        """X(N) of the fitted curve; a prediction wherever N was not measured."""
        more = agents - 1
        alpha, beta = self.contention.estimate or 0.0, self.coherency.estimate or 0.0
        return self.throughput_of_one * agents / (1 + alpha * more + beta * agents * more)


class Tries(Value):
    """How often a subtask was tried by one backend, independently, and how often it was accepted."""

    subtask: SubtaskId
    family: str | None = None
    tried: int = Field(ge=1)
    accepted: int = Field(ge=0)

    @model_validator(mode="after")
    def _counts_fit(self) -> Self:
        if self.accepted > self.tried:
            raise ValueError(f"{self.subtask!r}: {self.accepted} accepted of {self.tried} tries")
        return self


class PairedSubtask(Value):
    """One subtask's scores under two backends, a score for each repeat (1 for accepted and 0 for not, or an amount).

    A repeat that came to nothing is a score too: leaving it out would choose a subset by its outcome. `family` groups subtasks
    that are alike (one repository, one template); None is a family of its own.
    """

    subtask: SubtaskId
    family: str | None = None
    left: tuple[FiniteFloat, ...] = Field(min_length=1)
    right: tuple[FiniteFloat, ...] = Field(min_length=1)

    @property
    def difference(self) -> float:
        """dᵢ: the mean of the left scores less the mean of the right ones."""
        return sum(self.left) / len(self.left) - sum(self.right) / len(self.right)


Scale = Literal["share", "amount"]
"""What scores are: from 0 to 1 (accepted or not), or without bounds (seconds, dollars, lines)."""


class SignFlip(Value):
    """A two-sided p-value. `is_exact`: all 2^units sign patterns were counted; else `resolution` is the smallest p there could be.

    `units` are the subtasks (or families) whose difference is not zero: the others say nothing about the sign.
    """

    p_value: FiniteFloat = Field(gt=0, le=1)
    is_exact: bool
    resolution: FiniteFloat
    units: int


class PairedComparison(Value):
    """Left less right over the same subtasks. `difference` is the interval, `significance` the test; they are computed apart.

    The means are over subtasks, each subtask the mean of its repeats.
    """

    subtasks: int
    families: int
    left_mean: FiniteFloat
    right_mean: FiniteFloat
    standard_error: FiniteFloat | None
    difference: Interval
    significance: SignFlip


class VarianceComponents(Value):
    """Where the spread of a paired comparison comes from; variances of scores, in the score's unit squared.

    `between` is the variance over subtasks of the true differences, `within_…` that of one repeat around its subtask's truth.
    `basis` says in words where the numbers are from, and is printed with whatever is computed from them.
    """

    between: FiniteFloat = Field(ge=0)
    within_left: FiniteFloat = Field(ge=0)
    within_right: FiniteFloat = Field(ge=0)
    is_assumed: bool
    basis: str = Field(min_length=1)

    def standard_error(self, subtasks: int, repeats: int) -> float:
        """Of the mean difference: √((ω² + (σ²_left + σ²_right)/R) / n), Miller 2024."""
        return float(((self.between + (self.within_left + self.within_right) / repeats) / subtasks) ** 0.5)


class PairedDesign(Value):
    """An experiment that was not paid for yet: how many subtasks, how many repeats of each under each backend.

    `comparisons` backends are tested against one; the level is divided among them, which is where Holm's procedure starts.
    """

    subtasks: int = Field(ge=1)
    repeats: int = Field(default=1, ge=1)
    level: FiniteFloat = Field(default=LEVEL, gt=0, lt=1)
    power: FiniteFloat = Field(default=0.8, gt=0, lt=1)
    comparisons: int = Field(default=1, ge=1)

    @property
    def alpha(self) -> float:
        """The chance of a false alarm that each comparison may take."""
        return (1 - self.level) / self.comparisons


class DetectableEffect(Value):
    """The smallest true difference that the design finds with its power; None with a reason where it finds nothing."""

    effect: FiniteFloat | None
    design: PairedDesign
    components: VarianceComponents
    reason: str = ""


class Tally(Value):
    """One subtask's (or run's) part of a ratio of totals: dollars over accepted subtasks, lines over output tokens.

    `numerator` None is unknown, which makes the ratio unknown too.
    """

    unit: str
    family: str | None = None
    numerator: FiniteFloat | None = Field(ge=0)
    denominator: FiniteFloat = Field(ge=0)


class ParetoPoint(Value):
    """What a choice costs and brings: less `cost_usd` and `wall_s` is better, more `brought` (lines or accepted share) is better."""

    name: str
    cost_usd: FiniteFloat | None
    wall_s: FiniteFloat | None
    brought: FiniteFloat | None


class ParetoStanding(Value):
    """Where a choice stands. `is_on_front` is None where one of its figures is unknown: it then neither beats nor is beaten."""

    point: ParetoPoint
    is_on_front: bool | None
    dominated_by: tuple[str, ...]


class LineLife(Value):
    """Lines that one run brought and that share a fate: they went after `days`, or still stood when last looked at after `days`."""

    run: str
    days: FiniteFloat = Field(ge=0)
    lines: int = Field(ge=1)
    is_gone: bool


class SurvivalPoint(Value):
    """The share of lines that still stand after `days`; it holds until the next point.

    `by_line` takes lines for independent (Greenwood); `by_run` takes whole runs, and is the one to print: lines of one run
    tend to go together.
    """

    days: FiniteFloat
    at_risk: int
    gone: int
    by_line: Interval
    by_run: Interval


class SurvivalCurve(Value):
    """The share of lines that stand, over days; `seen_until_days` is the longest that any line was watched."""

    points: tuple[SurvivalPoint, ...] = ()
    seen_until_days: FiniteFloat = 0.0

    def at(self, days: float) -> SurvivalPoint | Refusal:
        """What still stands after `days`: the last point up to then. Beyond what was watched there is no figure, unless all is gone."""
        reached = [point for point in self.points if point.days <= days]
        if not reached:
            return Refusal(reason="there are no lines")
        if days > self.seen_until_days and reached[-1].by_line.estimate != 0:
            return Refusal(reason=f"no line was watched for longer than {self.seen_until_days:g} days")
        return reached[-1]
