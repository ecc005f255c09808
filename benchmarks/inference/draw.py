"""Draw how tokens per second grow with requests and shrink with context, from what run.py measured.

python benchmarks/inference/draw.py                               docs/inference-growth.svg
python benchmarks/inference/draw.py --json FILE --out FILE.png
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from genwerk.core.cache import cache_directory

COLOURS = {"int8": "#0b5fa5", "int4": "#c2410c", "float32": "#4d7c0f"}
INK, FAINT, PEER = "#1f2933", "#d9dee3", "#8a94a0"
REQUESTS_OF = {"eight": 8, "sixteen": 16}
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "genwerk",
    "svg.fonttype": "none",
}

Curve = Mapping[int, Sequence[float]]


def draw(results: Mapping[str, Any], out: Path) -> None:
    """Two panels; lines are medians, bands reach from the smallest to the largest turn."""
    growth = results["growth"]
    if not growth:
        raise SystemExit("no growth was measured; run `python benchmarks/inference/run.py --scenarios growth` first")
    with matplotlib.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
        for axes, name in ((left, "batch"), (right, "context")):
            curves = {precision: _curve(both[name]) for precision, both in growth.items()}
            for precision, curve in curves.items():
                _line(axes, curve, COLOURS[precision])
            _label_ends(axes, curves)
            _dress(axes, sorted({size for curve in curves.values() for size in curve}))
        _best_peers(left, results["pairs"])
        left.set_title("New tokens per second, all requests together", loc="left", fontsize=11, pad=12)
        left.set_xlabel("requests at once, 128 tokens in and 128 out each")
        right.set_title("New tokens per second, one stream", loc="left", fontsize=11, pad=12)
        right.set_xlabel("tokens in the context")
        figure.savefig(out, dpi=160, metadata={"Date": None} if out.suffix == ".svg" else None)
        plt.close(figure)


def _curve(recorded: Mapping[str, Sequence[float]]) -> Curve:
    return {int(size): rates for size, rates in recorded.items()}


def _line(axes: Axes, curve: Curve, colour: str) -> None:
    sizes = list(curve)
    axes.fill_between(
        sizes, [min(curve[n]) for n in sizes], [max(curve[n]) for n in sizes], color=colour, alpha=0.15, lw=0
    )
    axes.plot(sizes, [statistics.median(curve[n]) for n in sizes], color=colour, lw=2, marker="o", markersize=4)


def _label_ends(axes: Axes, curves: Mapping[str, Curve]) -> None:
    """Names at the ends of the lines, moved apart where they would lie on each other."""
    ends = sorted((statistics.median(curve[max(curve)]), precision) for precision, curve in curves.items())
    apart = 0.055 * max(max(max(rates) for rates in curve.values()) for curve in curves.values())
    height = -apart
    for rate, precision in ends:
        height = max(rate, height + apart)
        size = max(curves[precision])
        axes.annotate(
            precision, (size, height), xytext=(9, 0), textcoords="offset points", va="center",
            color=COLOURS[precision], fontweight="bold", annotation_clip=False,
        )  # fmt: skip


def _best_peers(axes: Axes, pairs: Sequence[Mapping[str, Any]]) -> None:
    """Where a number of requests was asked of peers too: the best of them."""
    best: dict[int, tuple[float, str]] = {}
    for scenario, requests in REQUESTS_OF.items():
        rates: dict[str, list[float]] = {}
        for pair in pairs:
            if pair["scenario"] == scenario:
                rates.setdefault(pair["peer"], []).append(pair["theirs"])
        if rates:
            best[requests] = max((statistics.median(of_peer), peer) for peer, of_peer in rates.items())
    if not best:
        return
    axes.plot(list(best), [rate for rate, _ in best.values()], marker="D", markersize=6, color=PEER, lw=1, ls=":")
    last, names = max(best), sorted({peer for _, peer in best.values()})
    axes.annotate(
        "best peer\n" + "\n".join(names), (last, best[last][0]), xytext=(10, -8), textcoords="offset points", va="top",
        color=PEER, fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip


def _dress(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:,.0f}"))
    axes.set_ylim(bottom=0)
    axes.margins(x=0.04)
    axes.grid(axis="y", color=FAINT, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=cache_directory() / "benchmarks" / "inference.json")
    docs = Path(__file__).parents[2] / "docs"
    parser.add_argument("--out", type=Path, default=docs / "inference-growth.svg", help="SVG or PNG")
    options = parser.parse_args()
    draw(json.loads(options.json.read_text(encoding="utf-8")), options.out)
    print(options.out)


if __name__ == "__main__":
    main()
