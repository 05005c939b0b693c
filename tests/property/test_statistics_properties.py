"""What holds for statistics of any data: bounds, order, symmetry, and that swapping the sides swaps the answer."""

from math import isclose

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.measure.scaling import Scaling, ScalingRun, scaling
from orchestrator.measure.statistics.paired import compare_paired
from orchestrator.measure.statistics.pareto import pareto
from orchestrator.measure.statistics.pass_rates import mean_pass_at_k, mean_pass_hat_k
from orchestrator.measure.statistics.proportions import pass_at_k, pass_hat_k, wilson
from orchestrator.measure.statistics.ratios import ratio_of_ratios
from orchestrator.measure.statistics.significance import holm, sign_flip
from orchestrator.measure.statistics.survival import survival_curve
from orchestrator.measure.statistics.values import LineLife, PairedSubtask, ParetoPoint, Refusal, Tally, Tries

counts = st.integers(1, 60).flatmap(lambda tried: st.tuples(st.just(tried), st.integers(0, tried)))
levels = st.sampled_from([0.8, 0.9, 0.95, 0.99])
repeats = st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=4).map(tuple)
families = st.sampled_from([None, None, "x", "y"])


@st.composite
def paired_rows(draw):
    rows = draw(st.lists(st.tuples(repeats, repeats, families), min_size=1, max_size=14))
    return [
        PairedSubtask(subtask=f"s{n}", left=left, right=right, family=family)
        for n, (left, right, family) in enumerate(rows)
    ]


@given(counts, levels)
def test_wilson_is_in_bounds_and_mirrored(pair, level):
    tried, accepted = pair
    ours, mirrored = wilson(accepted, tried, level), wilson(tried - accepted, tried, level)
    assert 0 <= ours.low <= ours.estimate <= ours.high <= 1
    assert isclose(ours.low, 1 - mirrored.high, abs_tol=1e-12)


@given(counts)
def test_more_tries_help_any_and_hurt_all(pair):
    tried, accepted = pair
    some = [pass_at_k(tried, accepted, k) for k in range(1, tried + 1)]
    every = [pass_hat_k(tried, accepted, k) for k in range(1, tried + 1)]
    assert some == sorted(some)
    assert every == sorted(every, reverse=True)
    assert isclose(some[0], every[0], abs_tol=1e-12)
    assert isclose(pass_at_k(tried, accepted, tried), float(accepted > 0))


@given(st.lists(st.tuples(st.integers(0, 5), families), min_size=1, max_size=25), st.integers(1, 5), levels)
def test_means_of_pass_at_k_are_within_their_interval_and_that_within_0_and_1(rows, k, level):
    tries = [Tries(subtask=f"s{n}", tried=5, accepted=c, family=family) for n, (c, family) in enumerate(rows)]
    some, every = mean_pass_at_k(tries, k, level=level), mean_pass_hat_k(tries, k, level=level)
    assert some.estimate >= every.estimate - 1e-12
    for mean in (some, every):
        if mean.is_bounded:
            assert 0 <= mean.low <= mean.estimate + 1e-12
            assert mean.estimate - 1e-12 <= mean.high <= 1


@given(paired_rows(), levels)
def test_swapping_the_backends_swaps_the_sign(rows, level):
    swapped = [row.model_copy(update={"left": row.right, "right": row.left}) for row in rows]
    ours, theirs = compare_paired(rows, level=level), compare_paired(swapped, level=level)
    assert isclose(ours.difference.estimate, -theirs.difference.estimate, abs_tol=1e-12)
    assert isclose(ours.significance.p_value, theirs.significance.p_value)
    if ours.difference.is_bounded:
        assert isclose(ours.difference.low, -theirs.difference.high, abs_tol=1e-9)
        assert -1 <= ours.difference.low <= ours.difference.estimate <= ours.difference.high <= 1


@given(paired_rows())
def test_a_higher_level_is_a_wider_interval(rows):
    narrow, wide = compare_paired(rows, level=0.8).difference, compare_paired(rows, level=0.99).difference
    if narrow.is_bounded:
        assert wide.low <= narrow.low
        assert wide.high >= narrow.high


@given(st.lists(st.floats(-10, 10), max_size=16), st.floats(0.01, 100))
def test_a_p_value_is_a_share_of_patterns_and_knows_no_unit(differences, factor):
    ours = sign_flip(differences)
    assert ours.resolution <= ours.p_value <= 1
    assert isclose(ours.p_value * 2**ours.units, round(ours.p_value * 2**ours.units), abs_tol=1e-6)
    assert isclose(sign_flip([-x for x in differences]).p_value, ours.p_value)


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_lowers(p_values):
    adjusted = holm(p_values)
    assert adjusted.keys() == p_values.keys()
    assert all(p_values[name] <= adjusted[name] <= 1 for name in p_values)
    ranked = sorted(p_values, key=p_values.__getitem__)
    assert [adjusted[name] for name in ranked] == sorted(adjusted.values())


sizes = st.just(0.0) | st.floats(1e-6, 1e3)
amounts = st.tuples(sizes, sizes)


@given(st.lists(st.tuples(amounts, amounts, families), min_size=1, max_size=10))
def test_the_inverse_ratio_has_the_inverse_interval(rows):
    left = [Tally(unit=str(n), numerator=a, denominator=b, family=f) for n, ((a, b), _, f) in enumerate(rows)]
    right = [Tally(unit=str(n), numerator=a, denominator=b, family=f) for n, (_, (a, b), f) in enumerate(rows)]
    ours, theirs = ratio_of_ratios(left, right), ratio_of_ratios(right, left)
    if ours.is_bounded and theirs.is_bounded and ours.low > 1e-100:
        assert isclose(ours.low * theirs.high, 1, rel_tol=1e-6)
        assert ours.low <= ours.estimate <= ours.high


figures = st.none() | st.integers(0, 3).map(float)


@given(st.lists(st.tuples(figures, figures, figures), max_size=12))
def test_whoever_is_beaten_is_beaten_by_somebody_on_the_front(rows):
    points = [ParetoPoint(name=str(n), cost_usd=a, wall_s=b, brought=c) for n, (a, b, c) in enumerate(rows)]
    standings = pareto(points)
    front = {standing.point.name for standing in standings if standing.is_on_front}
    for standing in standings:
        assert standing.point.name not in standing.dominated_by
        if standing.dominated_by:
            assert front & set(standing.dominated_by)


lives = st.builds(
    LineLife,
    run=st.sampled_from(["a", "b", "c"]),
    days=st.integers(0, 10).map(float),
    lines=st.integers(1, 5),
    is_gone=st.booleans(),
)


@settings(max_examples=50)
@given(st.lists(lives, min_size=1, max_size=15), levels)
def test_a_survival_curve_only_falls_and_its_intervals_hold_it(rows, level):
    points = survival_curve(rows, level=level).points
    shares = [point.by_line.estimate for point in points]
    assert shares == sorted(shares, reverse=True)
    for point in points:
        for interval in (point.by_line, point.by_run):
            if interval.is_bounded:
                assert -1e-12 <= interval.low <= interval.estimate <= interval.high <= 1 + 1e-12


@st.composite
def scaling_rows(draw):
    rows = draw(st.lists(st.tuples(st.integers(1, 64), st.integers(0, 2), st.booleans()), max_size=25, unique=True))
    return [
        ScalingRun(
            agents=agents,
            repeat=repeat,
            is_serial=is_serial,
            wall_s=draw(st.floats(1e-3, 1e6)),
            accepted=frozenset(draw(st.sampled_from(["", "ab", "ab", "abc"]))),
            retained_lines=draw(st.integers(0, 1000)),
        )
        for agents, repeat, is_serial in rows
    ]


@given(scaling_rows(), st.sampled_from(["accepted", "retained"]), levels)
def test_any_rows_make_a_table_that_can_be_written_down(rows, yardstick, level):
    """However odd the runs: a value or a refusal, with every bound on its side of the estimate."""
    found = scaling(rows, yardstick=yardstick, level=level)
    if isinstance(found, Refusal):
        return
    assert Scaling.model_validate_json(found.model_dump_json()) == found
    for point in found.points:
        for interval in (point.gain, point.efficiency, point.karp_flatt):
            if interval.is_bounded:
                assert interval.low <= interval.estimate <= interval.high
    if not isinstance(found.usl, Refusal):
        assert found.usl.contention.estimate >= 0
        assert found.usl.coherency.estimate >= 0
    if not isinstance(found.amdahl, Refusal):
        assert 0 <= found.amdahl.serial_share.estimate <= 1
