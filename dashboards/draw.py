#!/usr/bin/env python3
"""Draws the dashboards from a running Prometheus, one SVG each: for documentation, and where there is no Grafana.

usage: draw.py PROMETHEUS_URL SECONDS [FOLDER]

Draws what the last SECONDS brought, by the queries of panels.py, into FOLDER (dashboards/img). Standard library only.
"""
import html
import json
import math
import pathlib
import sys
import time
import urllib.parse
import urllib.request

import panels

COLUMNS, WIDTH, GAP = 24, 1440, 10
HEIGHTS = {"stat": 90, "timeseries": 250, "state-timeline": 250}
COLOURS = ["#2f6fbf", "#d97706", "#15803d", "#b91c1c", "#7c3aed", "#0e7490", "#a16207", "#be185d", "#4d7c0f", "#475569"]
POINTS = 120
LEGEND_MAX = 6
# Rates are taken over so many seconds at least: less is noise where a request comes every second or two.
RATE_SECONDS_MIN = 15
INK, SOFT, GRID, PAPER, CARD = "#1f2937", "#6b7280", "#e5e7eb", "#f3f4f6", "#ffffff"


class Source:
    """A Prometheus and the time range that is drawn."""

    def __init__(self, url, seconds):
        self.url, self.end, self.seconds = url.rstrip("/"), time.time(), seconds
        self.start, self.step = self.end - seconds, max(1.0, seconds / POINTS)

    def ask(self, path, **parameters):
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=30) as response:
            return json.load(response)["data"]["result"]

    def filled(self, query):
        interval = f"{max(RATE_SECONDS_MIN, math.ceil(4 * self.step))}s"
        return query.replace("$__rate_interval", interval).replace("$__range", f"{self.seconds}s").replace("$instance", ".+")

    def lines(self, query, legend):
        """Name and points of each series."""
        found = self.ask("query_range", query=self.filled(query), start=self.start, end=self.end, step=self.step)
        return [(name(legend, series["metric"]), points(series["values"])) for series in found]

    def number(self, query):
        found = self.ask("query", query=self.filled(query), time=self.end)
        return float(found[0]["value"][1]) if found else None


def name(legend, labels):
    for key, value in labels.items():
        legend = legend.replace("{{" + key + "}}", value)
    return legend


def points(values):
    """Seconds and number, without what is none."""
    numbers = ((at, float(value)) for at, value in values)
    return [(at, value) for at, value in numbers if math.isfinite(value)]


def said(value, unit):
    """A value as a person reads it."""
    if value is None or not math.isfinite(value):
        return "no data"
    if unit == "percentunit":
        return f"{100 * value:.4g} %"
    if unit == "s":
        for factor, word in [(1, "s"), (1e3, "ms"), (1e6, "µs")]:
            if abs(value) * factor >= 1 or word == "µs":
                return "0" if value == 0 else f"{value * factor:.3g} {word}"
    if unit == "currencyUSD":
        return f"${value:.3g}" if value < 1000 else f"${value:,.0f}"
    if unit in ("bytes", "Bps"):
        power = min(3, int(math.log(abs(value), 1024))) if abs(value) >= 1024 else 0
        return f"{value / 1024 ** power:.3g} {['B', 'KiB', 'MiB', 'GiB'][power]}{'/s' if unit == 'Bps' else ''}"
    suffix = {"reqps": " /s", "ops": " /s"}.get(unit, "")
    return (f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}") + suffix


def text(x, y, words, size=12, colour=INK, anchor="start", weight="normal"):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">{html.escape(words)}</text>'


def ticks(top, unit):
    """Four or so round numbers from 0 to about `top`."""
    if unit in ("bytes", "Bps") and top >= 1024:
        scale = 1024 ** min(3, int(math.log(top, 1024)))
        return [scale * tick for tick in ticks(top / scale, "short")]
    raw = top / 4 or 1
    size = 10 ** math.floor(math.log10(raw))
    step = next(factor * size for factor in (1, 2, 2.5, 5, 10) if factor * size >= raw * 0.999)
    return [step * n for n in range(int(top / step + 1.0001))]


def stacked(lines):
    """The lines on top of each other, at the times of any of them."""
    times = sorted({at for _, line in lines for at, _ in line})
    sums, made = dict.fromkeys(times, 0.0), []
    for name_of, line in lines:
        known = dict(line)
        below = [(at, sums[at]) for at in times]
        for at in times:
            sums[at] += known.get(at, 0.0)
        made.append((name_of, [(at, sums[at]) for at in times], below))
    return made


def axes(of, source, frame, top):
    x, y, w, h = frame
    out = []
    for tick in ticks(top, of["unit"]):
        at = y + h - h * tick / top
        out.append(f'<line x1="{x}" x2="{x + w}" y1="{at:.1f}" y2="{at:.1f}" stroke="{GRID}"/>')
        out.append(text(x - 6, at + 4, said(tick, of["unit"]), 10, SOFT, "end"))
    return out + clock(source, frame)


def clock(source, frame):
    """The time below: minutes and seconds since the begin."""
    x, y, w, h = frame
    marks = [text(x + w * part / 4, y + h + 14, f"{int(source.seconds * part / 4) // 60}:{int(source.seconds * part / 4) % 60:02}", 10, SOFT, "middle") for part in range(5)]
    return marks


def legend(lines, x, y, width):
    """Names with their colours, in two columns; what does not fit is counted."""
    out = []
    for place, words in enumerate(lines[:LEGEND_MAX]):
        at_x, at_y = x + (place % 2) * width / 2, y + (place // 2) * 14
        most = int(width / 2 / 6.2)
        words = words if len(words) <= most else words[:most - 1] + "…"
        out.append(f'<rect x="{at_x:.1f}" y="{at_y - 8:.1f}" width="9" height="9" rx="2" fill="{COLOURS[place % len(COLOURS)]}"/>')
        out.append(text(at_x + 13, at_y, words, 10.5, SOFT))
    if len(lines) > LEGEND_MAX:
        out.append(text(x + width, y + (LEGEND_MAX // 2) * 14, f"and {len(lines) - LEGEND_MAX} more", 10, SOFT, "end"))
    return out


def draw_lines(of, source, x, y, w, h):
    lines = [line for query, words in of["queries"] for line in source.lines(query, words)]
    # The largest first: they keep their colours and stand in the legend.
    lines = sorted((line for line in lines if line[1]), key=lambda line: -max(value for _, value in line[1]))
    if not lines:
        return [text(x + w / 2, y + h / 2, "no data", 13, SOFT, "middle")]
    drawn = stacked(lines) if of["stack"] else [(name_of, line, None) for name_of, line in lines]
    frame = (x + 58, y + 34, w - 74, h - 34 - 18 - 52)
    top = of["max"] or max((value for _, line, _ in drawn for _, value in line), default=1) * 1.05 or 1
    top = max(top, ticks(top, of["unit"])[-1])
    left, above, width, height = frame
    at = lambda point: (left + width * (point[0] - source.start) / source.seconds, above + height - height * min(point[1], top) / top)
    out = axes(of, source, frame, top)
    for place, (_, line, below) in reversed(list(enumerate(drawn))):
        colour = COLOURS[place % len(COLOURS)]
        path = " ".join("{:.1f},{:.1f}".format(*at(point)) for point in line)
        if below:
            back = " ".join("{:.1f},{:.1f}".format(*at(point)) for point in reversed(below))
            out.append(f'<polygon points="{path} {back}" fill="{colour}" fill-opacity="0.25"/>')
        if len(line) == 1:
            out.append('<circle cx="{:.1f}" cy="{:.1f}" r="2" fill="{}"/>'.format(*at(line[0]), colour))
        for part in unbroken(line, source.step):
            part = " ".join("{:.1f},{:.1f}".format(*at(point)) for point in part)
            out.append(f'<polyline points="{part}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-linejoin="round"/>')
    return out + legend([name_of for name_of, _, _ in drawn], x + 16, y + h - 38, w - 32)


def unbroken(line, step):
    """The parts of a line between gaps."""
    part = []
    for point in line:
        if part and point[0] - part[-1][0] > 2.5 * step:
            yield part
            part = []
        part.append(point)
    yield part


def draw_states(of, source, x, y, w, h):
    lines = [line for query, words in of["queries"] for line in source.lines(query, words)]
    lines = [line for line in lines if line[1]]
    if not lines:
        return [text(x + w / 2, y + h / 2, "never", 13, SOFT, "middle")]
    left, above, width = x + 150, y + 40, w - 166
    high = min(30, (h - 70) / len(lines))
    out = clock(source, (left, above, width, high * len(lines)))
    for place, (name_of, line) in enumerate(sorted(lines)):
        top = above + place * high
        out.append(text(left - 8, top + high / 2 + 4, name_of if len(name_of) < 24 else name_of[:23] + "…", 10.5, SOFT, "end"))
        out.append(f'<rect x="{left}" y="{top + 2:.1f}" width="{width}" height="{high - 4:.1f}" fill="{GRID}"/>')
        for at, value in line:
            if value > 0:
                from_x = left + width * (at - source.start) / source.seconds
                wide = min(width * source.step / source.seconds + 0.6, left + width - from_x)
                out.append(f'<rect x="{from_x:.1f}" y="{top + 2:.1f}" width="{max(wide, 0.5):.1f}" height="{high - 4:.1f}" fill="{COLOURS[0]}"/>')
    return out


def draw_number(of, source, x, y, w, h):
    value = source.number(of["queries"][0][0])
    return [text(x + w / 2, y + h - 26, said(value, of["unit"]), 28, COLOURS[0], "middle", "bold")]


DRAWN = {"stat": draw_number, "timeseries": draw_lines, "state-timeline": draw_states}


def draw(dashboard, source):
    """One dashboard as SVG."""
    _, title, about, rows = dashboard
    unit, y, out = WIDTH / COLUMNS, 64, [text(GAP + 4, 30, title, 20, weight="bold"), text(GAP + 4, 50, about, 12, SOFT)]
    for heading, of_row in rows:
        out.append(text(GAP + 4, y + 20, heading, 14, weight="bold"))
        y, x = y + 30, 0
        height = HEIGHTS[of_row[0]["kind"]]
        for of in of_row:
            if x + of["width"] > COLUMNS:
                x, y = 0, y + height + GAP
            left, width = x * unit + GAP / 2, of["width"] * unit - GAP
            out.append(f'<rect x="{left:.1f}" y="{y}" width="{width:.1f}" height="{height}" rx="5" fill="{CARD}" stroke="{GRID}"/>')
            out.append(text(left + 12, y + 20, of["title"], 12.5, weight="bold"))
            out += DRAWN[of["kind"]](of, source, left, y, width, height)
            x += of["width"]
        y += height + GAP
    style = f'font-family="system-ui, sans-serif" width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {style}>\n<rect width="{WIDTH}" height="{y}" fill="{PAPER}"/>\n' + "\n".join(out) + "\n</svg>\n"


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    source = Source(sys.argv[1], int(sys.argv[2]))
    folder = pathlib.Path(sys.argv[3]) if len(sys.argv) == 4 else panels.FOLDER / "img"
    folder.mkdir(parents=True, exist_ok=True)
    for dashboard in panels.DASHBOARDS:
        file = folder / f"{dashboard[0]}.svg"
        file.write_text(draw(dashboard, source))
        print(file)


if __name__ == "__main__":
    main()
