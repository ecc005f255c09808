"""Plots: valid SVG of the page's own colours, the same bytes each time, nothing drawn outside, text kept as text."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from lxml import etree

from genwerk.evaluation import plots
from genwerk.evaluation.plots import CurvePoint, Dot

CURVE = [CurvePoint(step, 4 - step / 50, 3 - step / 60 if step % 20 == 0 else None) for step in range(100)]
BARS = [Dot("base", 1.02, 0.9, 1.1), Dot("tuned", 1.03, 0.95, 1.2, strong=True)]
PLOTS: dict[str, Callable[[], str]] = {
    "loss": lambda: plots.loss_curve(CURVE, name="loss", unit="bits", description="a curve"),
    "loss_of_one_step": lambda: plots.loss_curve([CurvePoint(0, 3.0)], name="one", unit="bits", description="a curve"),
    "heldout_only": lambda: plots.loss_curve([CurvePoint(0, None, 3.0)], name="h", unit="bits", description="a curve"),
    "bars": lambda: plots.measure_bars(BARS, name="bars", unit="bits", description="bars"),
    "dots": lambda: plots.dots({"hit@1": BARS, "hit@5": BARS}, name="dots", description="dots"),
    "fusion": lambda: plots.fusion_curve([(0, 0.5), (0.5, 0.7), (1, 0.6)], 0.5, name="f", unit="n", description="f"),
    "flat_fusion": lambda: plots.fusion_curve([(0, 0.5), (1, 0.5)], 1.0, name="f", unit="n", description="flat"),
    "risk": lambda: plots.risk_coverage([(0.1, 0.0), (1.0, 0.3)], (0.8, 0.05), name="r", description="risk"),
    "strips": lambda: plots.score_strips([0.5, 0.7], [0.1, 0.2], 0.4, name="s", description="scores"),
    "strips_of_one_score": lambda: plots.score_strips([0.5], [], 0.5, name="s", description="scores"),
}


@pytest.mark.parametrize("name", PLOTS)
def test_the_same_numbers_give_the_same_well_formed_svg(name: str) -> None:
    svg = PLOTS[name]()
    assert svg == PLOTS[name]()
    root = etree.fromstring(f'<html xmlns="http://www.w3.org/1999/xhtml">{svg}</html>'.encode())
    assert root[0].get("role") == "img"
    assert root[0].get("aria-label")


@pytest.mark.parametrize("name", PLOTS)
def test_colours_follow_the_page_in_light_and_dark(name: str) -> None:
    svg = PLOTS[name]()
    assert not re.search(r"(?:fill|stroke): ?#", svg)
    assert "<text" in svg and "DejaVu" not in svg


def test_identifiers_of_two_plots_do_not_clash() -> None:
    one, two = (set(re.findall(r'\bid="([^"]+)"', PLOTS[name]())) for name in ("loss", "dots"))
    assert one and two and not one & two
    for reference in re.findall(r'(?:href="|url\()#([^")]+)', PLOTS["dots"]()):
        assert reference in two


def test_values_are_written_beside_what_they_belong_to() -> None:
    assert "1.030" in PLOTS["bars"]() and "tuned" in PLOTS["bars"]()
    assert "served: 0.50 (0.700)" in PLOTS["fusion"]()
    assert "answers 80 %" in PLOTS["risk"]()


def test_labels_of_close_curves_do_not_lie_on_each_other() -> None:
    points = [CurvePoint(step, 2.0 + 1 / (1 + step), 2.0 + 1 / (1 + step)) for step in range(50)]
    svg = plots.loss_curve(points, name="close", unit="bits", description="close")
    heights = [float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>(?:training|held out)', svg)]
    assert len(heights) == 2 and abs(heights[0] - heights[1]) > 8


def test_a_users_matplotlib_settings_change_nothing() -> None:
    import matplotlib as mpl

    plain = PLOTS["bars"]()
    with mpl.rc_context({"axes.spines.right": True, "lines.linewidth": 9, "figure.dpi": 55}):
        assert PLOTS["bars"]() == plain
