"""The pictures of a report as inline SVG: the same bytes for the same numbers, colours that follow light and dark.

matplotlib draws with placeholder colours, which are then replaced by CSS variables of the page (`--ink`, `--s1`, …);
text stays text, so that it takes the page's font and can be read aloud and searched.

Chosen:   series are named beside their lines, not in a legend; what was chosen has the one strong colour.
Left out: interaction. The tables beside the pictures hold every number.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

__all__ = [
    "CurvePoint", "Dot", "attribute_sweep", "dots", "fusion_curve", "loss_curve", "measure_bars", "risk_coverage",
    "score_strips",
]  # fmt: skip

INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
S1, S2, BAR = "#0a0101", "#0a0202", "#0a0303"
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", PAPER: "--card", S1: "--s1", S2: "--s2", BAR: "--bar"}
_STYLE: Any = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "font.size": 9.0,
    "axes.edgecolor": GRID, "axes.labelcolor": MUTED, "axes.labelsize": 9.0, "axes.linewidth": 0.8,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.7,
    "xtick.color": GRID, "ytick.color": GRID, "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.5, "ytick.labelsize": 8.5, "xtick.major.size": 0.0, "ytick.major.size": 0.0,
    "text.color": INK, "figure.facecolor": "none", "axes.facecolor": "none", "path.simplify": False,
    "text.parse_math": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One step of training: `train` loss, and `heldout` loss where it was measured at this step."""

    step: int
    train: float | None
    heldout: float | None = None


@dataclass(frozen=True, slots=True)
class Dot:
    """One value with its interval; `strong` is drawn in the strong colour."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    strong: bool = False


class _Canvas:
    """Figures of one style that end as an SVG string."""

    def __init__(self, name: str, width: float, height: float, columns: int = 1) -> None:
        self.name = name
        self.figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(self.figure)
        self.axes: list[Axes] = [self.figure.add_subplot(1, columns, index + 1) for index in range(columns)]

    def svg(self, description: str) -> str:
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        return _embed(buffer.getvalue(), self.name, description)


@contextmanager
def _canvas(name: str, width: float, height: float, columns: int = 1) -> Iterator[_Canvas]:
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's matplotlibrc says
        mpl.rcParams.update(_STYLE)
        mpl.rcParams["svg.hashsalt"] = name
        yield _Canvas(name, width, height, columns)


def _embed(svg: str, name: str, description: str) -> str:
    """Make matplotlib's file a part of the page: no prologue, own identifiers, CSS colours, the page's font."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    view = re.search(r'viewBox="[^"]+"', svg)
    head = f'<svg class="plot" role="img" aria-label="{escape(description)}" {view.group(0) if view else ""} '
    svg = re.sub(r"<svg[^>]*>", head + 'xmlns:xlink="http://www.w3.org/1999/xlink">', svg, count=1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    svg = re.sub(r"font-family: [^;\"]*", "font-family: var(--font)", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return re.sub(r"<style[^>]*>.*?</style>", "", svg, flags=re.DOTALL)


def loss_curve(points: Sequence[CurvePoint], *, name: str, unit: str, description: str) -> str:
    """Training loss (thin: every step, thick: moving average) and held-out loss (dots) over steps."""
    with _canvas(name, 8.6, 2.9) as canvas:
        axes = canvas.axes[0]
        train = [(point.step, point.train) for point in points if point.train is not None]
        heldout = [(point.step, point.heldout) for point in points if point.heldout is not None]
        ends: list[tuple[float, str, str]] = []
        if train:
            steps, values = [step for step, _ in train], [value for _, value in train]
            smooth = _moving_average(values)
            axes.plot(steps, values, color=S1, linewidth=0.8, alpha=0.28)
            axes.plot(steps, smooth, color=S1, linewidth=1.8)
            final = sum(values[-max(1, len(values) // 15) :]) / max(1, len(values) // 15)
            ends.append((final, f"training {final:.2f}", S1))
        if heldout:
            steps, values = [step for step, _ in heldout], [value for _, value in heldout]
            line = "-" if len(heldout) > 2 else "none"  # before and after alone say nothing of the way between
            axes.plot(steps, values, linestyle=line, color=S2, linewidth=1.6, marker="o", markersize=4, clip_on=False)
            ends.append((values[-1], f"held out {values[-1]:.2f}", S2))
        last = max((point.step for point in points), default=1)
        first = min((point.step for point in points), default=0)
        axes.set_xlim(first, first + (last - first) * 1.15 + 1)
        for height, text, colour in _apart(ends, axes):
            axes.annotate(text, (last, height), (7, 0), textcoords="offset points", color=colour, va="center")
        axes.set_xticks([tick for tick in axes.get_xticks() if first <= tick <= last])
        axes.grid(axis="x", visible=False)
        axes.set_xlabel("optimiser step")
        axes.set_ylabel(unit)
        return canvas.svg(description)


def _moving_average(values: Sequence[float]) -> list[float]:
    """Mean over a centred window, a fifteenth of the curve wide, so that it does not lag."""
    half, smooth = len(values) // 30, []
    for index in range(len(values)):
        window = values[max(0, index - half) : index + half + 1]
        smooth.append(sum(window) / len(window))
    return smooth


def _apart(ends: list[tuple[float, str, str]], axes: Axes) -> list[tuple[float, str, str]]:
    """Labels at least a line of text apart, so that close curves stay readable."""
    low, high = axes.get_ylim()
    gap, placed = (high - low) * 0.085, list[tuple[float, str, str]]()
    for height, text, colour in sorted(ends):
        placed.append((max(height, placed[-1][0] + gap) if placed else height, text, colour))
    return placed


def measure_bars(bars: Sequence[Dot], *, name: str, unit: str, description: str) -> str:
    """Horizontal bars from zero, each with its interval and its number."""
    with _canvas(name, 8.6, 0.55 + 0.42 * len(bars)) as canvas:
        axes = canvas.axes[0]
        rows = range(len(bars) - 1, -1, -1)
        widest = max((bar.high or bar.value for bar in bars), default=1.0)
        for row, bar in zip(rows, bars, strict=True):
            axes.barh(row, bar.value, height=0.56, color=S1 if bar.strong else BAR)
            if bar.low is not None and bar.high is not None:
                axes.plot([bar.low, bar.high], [row, row], color=INK, linewidth=1.4, solid_capstyle="butt")
            axes.annotate(f"{bar.value:.3f}", (bar.high or bar.value, row), (7, 0), textcoords="offset points",
                          va="center", color=INK, weight="bold")  # fmt: skip
        axes.set_yticks(list(rows), [bar.label for bar in bars], color=INK)
        axes.set_xlim(0, widest * 1.12)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel(unit)
        return canvas.svg(description)


def dots(panels: Mapping[str, Sequence[Dot]], *, name: str, description: str) -> str:
    """One panel per measure from 0 to 1, one row per arm: a dot, its interval and its number."""
    rows = max((len(panel) for panel in panels.values()), default=1)
    with _canvas(name, 8.6, 0.75 + 0.42 * rows, columns=len(panels)) as canvas:
        for column, (axes, (title, panel)) in enumerate(zip(canvas.axes, panels.items(), strict=True)):
            heights = range(len(panel) - 1, -1, -1)
            for height, dot in zip(heights, panel, strict=True):
                colour = S1 if dot.strong else MUTED
                if dot.low is not None and dot.high is not None:
                    axes.plot([dot.low, dot.high], [height, height], color=colour, linewidth=2.0, alpha=0.55)
                axes.plot([dot.value], [height], "o", color=colour, markersize=6)
                axes.annotate(f"{dot.value:.2f}", (dot.value, height), (0, 7), textcoords="offset points",
                              ha="center", color=INK if dot.strong else MUTED,
                              weight="bold" if dot.strong else "normal")  # fmt: skip
            axes.set_yticks(list(heights), [dot.label for dot in panel] if column == 0 else [], color=INK)
            axes.set_title(title, loc="left", fontsize=9.5, color=INK, weight="bold")
            axes.set_xlim(-0.02, 1.04)
            axes.set_ylim(-0.5, rows - 0.3)
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "", "0.5", "", "1"])
            axes.grid(axis="y", visible=False)
        return canvas.svg(description)


def fusion_curve(curve: Sequence[tuple[float, float]], chosen: float, *, name: str, unit: str, description: str) -> str:
    """The measure at each fusion weight (0 = words alone, 1 = meaning alone), with the chosen weight."""
    with _canvas(name, 8.6, 2.6) as canvas:
        axes = canvas.axes[0]
        points = sorted(curve)
        values = [value for _, value in points]
        axes.plot([weight for weight, _ in points], values, color=MUTED, linewidth=1.6, marker="o", markersize=3)
        at_weight, at_value = min(points, key=lambda point: abs(point[0] - chosen))
        axes.plot([at_weight], [at_value], "o", color=S1, markersize=8)
        axes.annotate(f"served: {chosen:.2f} ({at_value:.3f})", (at_weight, at_value), (0, 10), ha="center",
                      textcoords="offset points", color=S1, weight="bold", annotation_clip=False)  # fmt: skip
        spread = max(values) - min(values) or 0.1
        axes.set_ylim(min(values) - spread * 0.1, max(values) + spread * 0.28)
        axes.set_xlim(-0.06, 1.06)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0\nwords only", "0.25", "0.5", "0.75", "1\nmeaning only"])
        axes.set_ylabel(unit)
        axes.set_xlabel("weight of the dense arm")
        axes.grid(axis="x", visible=False)
        return canvas.svg(description)


def risk_coverage(curve: Sequence[tuple[float, float]], chosen: tuple[float, float] | None, *, name: str,
                  description: str) -> str:  # fmt: skip
    """Share of unanswerable questions among the answered (risk) over the share of answerable ones answered."""
    with _canvas(name, 4.2, 2.9) as canvas:
        axes = canvas.axes[0]
        points = sorted(curve)
        axes.plot([coverage for coverage, _ in points], [risk for _, risk in points], color=MUTED, linewidth=1.6)
        if chosen is not None:
            axes.plot([chosen[0]], [chosen[1]], "o", color=S1, markersize=8)
            side = "right" if chosen[0] > 0.5 else "left"
            label = f"answers {_percent(chosen[0])}\nrisk {_percent(chosen[1])}"
            axes.annotate(label, chosen, (-8 if side == "right" else 8, 10), textcoords="offset points", ha=side,
                          color=S1, weight="bold")  # fmt: skip
        axes.set_xlim(0, 1.02)
        axes.set_ylim(0, max(0.1, max((risk for _, risk in points), default=0.1) * 1.15))
        axes.xaxis.set_major_formatter(lambda value, _: _percent(value))
        axes.yaxis.set_major_formatter(lambda value, _: _percent(value))
        axes.set_xlabel("coverage: answerable questions answered")
        axes.set_ylabel("risk")
        return canvas.svg(description)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def attribute_sweep(amounts: Sequence[float], has: Sequence[float], rest: Sequence[float], *, name: str,
                    description: str) -> str:  # fmt: skip
    """Share that has an attribute, and how far the rest moves, over how much of its direction is added."""
    with _canvas(name, 6.2, 2.9) as canvas:
        axes = canvas.axes[0]
        axes.plot(amounts, has, color=S1, linewidth=1.8, marker="o", markersize=4)
        axes.plot(amounts, rest, color=S2, linewidth=1.6, marker="o", markersize=4)
        ends = [(has[-1], f"has it {_percent(has[-1])}", S1), (rest[-1], f"rest moved {rest[-1]:.2f}", S2)]
        first, last = min(amounts), max(amounts)
        axes.set_xlim(first, first + (last - first) * 1.3)
        axes.set_ylim(0, max(1.0, *rest) * 1.05)
        for height, text, colour in _apart(ends, axes):
            axes.annotate(text, (last, height), (7, 0), textcoords="offset points", color=colour, va="center")
        axes.set_xticks(list(amounts))
        axes.set_xlabel("times the direction")
        axes.grid(axis="x", visible=False)
        return canvas.svg(description)


def score_strips(present: Sequence[float], removed: Sequence[float], threshold: float, *, name: str,
                 description: str) -> str:  # fmt: skip
    """How often each search score comes, with the source in the index and with it taken out, and the threshold."""
    with _canvas(name, 4.2, 2.9) as canvas:
        axes = canvas.axes[0]
        everything = [*present, *removed, threshold]
        low, high = min(everything), max(everything)
        edges = [low + (high - low or 1.0) * step / 24 for step in range(25)]
        tallest = 0.0
        for scores, colour in ((removed, S2), (present, S1)):
            if scores:
                counts, _, _ = axes.hist(
                    scores, bins=edges, color=colour, alpha=0.5, histtype="stepfilled", linewidth=0
                )
                tallest = max(tallest, float(max(counts)))
        axes.axvline(threshold, color=INK, linewidth=1.2)
        axes.set_ylim(0, (tallest or 1.0) * 1.35)
        axes.annotate("silent", (threshold, tallest * 1.26), (-5, 0), textcoords="offset points", ha="right")
        axes.annotate("answers", (threshold, tallest * 1.26), (5, 0), textcoords="offset points", ha="left")
        axes.set_xlabel("how sure the search is")
        axes.set_ylabel("questions")
        axes.grid(axis="x", visible=False)
        return canvas.svg(description)
