"""Turns the legs of a run into medians, checks and a Markdown page. Pure functions, no measuring."""

from statistics import median

RATIO_MIN = 0.5
# Of the requests/s without the ledger, and of those of another build.
RATIO_MIN_UNRECORDED, RATIO_MIN_BEFORE = 0.95, 0.85
ADDED_P99_US_MAX = 1000
IDLE_BYTES_MAX = 40 * 1000 * 1000
ORDER = ("direct", "nginx", "tidegate", "classified", "unrecorded", "traced", "before")
MODES = ("document", "stream")


def summarise(legs):
    """Medians over the rounds: {load: {mode: {target: {...}}}}."""
    summary = {}
    for load in ("full", "paced"):
        for mode in MODES:
            for target in ORDER:
                chosen = [leg for leg in legs if (leg["load"], leg["mode"], leg["target"]) == (load, mode, target)]
                if chosen:
                    summary.setdefault(load, {}).setdefault(mode, {})[target] = _medians(chosen)
            by_target = summary.get(load, {}).get(mode, {})
            for values in by_target.values():
                for other in ("direct", "nginx", "unrecorded", "before"):
                    if other in by_target and values is not by_target[other]:
                        _compare(values, by_target[other], other)
    return summary


def _medians(legs):
    values = {
        "requests_per_s": median(leg["requests_per_s"] for leg in legs),
        "spread": [min(leg["requests_per_s"] for leg in legs), max(leg["requests_per_s"] for leg in legs)],
        "errors": sum(leg["errors"] for leg in legs),
        "cpu_us_per_request": {
            part: median(leg["cpu_us_per_request"][part] for leg in legs) for part in ("target", "upstream", "load")
        },
    }
    for kind in ("total_us", "first_us"):
        values[kind] = {q: median(leg[kind][q] for leg in legs) for q in ("p50", "p90", "p99", "max")}
    return values


def _compare(values, other, name):
    values[f"ratio_to_{name}"] = values["requests_per_s"] / other["requests_per_s"]
    cost, others = (sum(one["cpu_us_per_request"].values()) for one in (values, other))
    # Cores that nobody else uses allow requests/s in inverse proportion to what all parts take together.
    values[f"cpu_ratio_to_{name}"] = others / cost if cost else None
    values[f"added_to_{name}_us"] = {
        kind: {q: values[kind][q] - other[kind][q] for q in ("p50", "p99")} for kind in ("total_us", "first_us")
    }


def check(result):
    """What the gateway must reach; empty when it was not measured."""
    summary, checks = result["summary"], []

    def add(what, value, limit, ok):
        checks.append({"what": what, "value": value, "limit": limit, "ok": ok})

    for load in ("full", "paced"):
        for mode in MODES:
            found = summary[load][mode].get("tidegate")
            if found is None:
                continue
            add(f"{load} {mode}: errors", str(found["errors"]), "0", found["errors"] == 0)
            if load == "full" and "ratio_to_nginx" in found:
                ratio = found["ratio_to_nginx"]
                add(f"{mode}: requests/s of nginx's", f"{ratio:.2f}", f"at least {RATIO_MIN}", ratio >= RATIO_MIN)
            for other, least in (("unrecorded", RATIO_MIN_UNRECORDED), ("before", RATIO_MIN_BEFORE)):
                if load == "full" and f"ratio_to_{other}" in found:
                    ratio, by_cpu = found[f"ratio_to_{other}"], found[f"cpu_ratio_to_{other}"]
                    value = f"{ratio:.2f} ({by_cpu:.2f} by processor time)"
                    add(f"{mode}: requests/s of {other}'s", value, f"at least {least}", ratio >= least)
            if "added_to_direct_us" in found:
                added = found["added_to_direct_us"]["total_us"]["p99"]
                limit = f"under {ADDED_P99_US_MAX} us"
                add(f"{load} {mode}: added p99", f"{added:.0f} us", limit, added < ADDED_P99_US_MAX)
    if "tidegate" in result["memory"]:
        idle = result["memory"]["tidegate"]["idle_bytes"]
        add("idle memory", f"{idle / 1e6:.1f} MB", f"under {IDLE_BYTES_MAX / 1e6:.0f} MB", idle < IDLE_BYTES_MAX)
    return checks


def markdown(result):
    machine, options = result["machine"], result["options"]
    lines = [
        f"# Benchmark of {result['date'][:10]}, {machine['cores']} cores",
        "",
        f"`{result['command'].strip()}`: {options['rounds']} rounds of {options['seconds']:g} s each, "
        f"{options['connections']} connections, medians over the rounds; all programs share the machine.",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_mb']} MB, Linux {machine['kernel']}; "
        f"{machine['rustc']}; {machine['nginx']}; load average at the end {machine['load_average_at_end']:.1f}.",
        "",
        f"Every answer was checked whole: {result['answer']['document_bytes']} bytes as a document, "
        f"{result['answer']['frames']} events as a stream.",
    ]
    for mode in MODES:
        lines += ["", f"## {mode.capitalize()}, as many as can be", ""] + _full_table(result["summary"]["full"][mode])
        rate = options[f"{mode}_rate"]
        lines += ["", f"## {mode.capitalize()}, {rate:g} a second", ""]
        lines += _paced_table(result["summary"]["paced"][mode], mode)
    lines += ["", "## Memory", ""]
    lines += _table(
        ["target", "idle MB", "after load MB"],
        [
            [name, f"{values['idle_bytes'] / 1e6:.1f}", f"{values['after_load_bytes'] / 1e6:.1f}"]
            for name, values in result["memory"].items()
        ],
    )
    if result["wrk"]:
        lines += ["", "## The same document load by wrk, once", ""]
        lines += _table(["target", "requests/s", "p99 us", "errors"], [_wrk_row(*item) for item in result["wrk"].items()])
    lines += ["", "## Checks", ""]
    if result["checks"]:
        rows = [[c["what"], c["value"], c["limit"], "yes" if c["ok"] else "**NO**"] for c in result["checks"]]
        lines += _table(["what", "found", "must be", "met"], rows)
    else:
        lines += ["The gateway was not measured in this run."]
    return "\n".join(lines) + "\n"


def _full_table(by_target):
    head = ["target", "requests/s", "(range)", "of nginx", "by processor time", "p50 us", "p99 us", "added p50", "added p99",
            "p99 over nginx", "CPU us/request (itself, upstream, load)", "errors"]
    rows = []
    for target, v in by_target.items():
        cpu = v["cpu_us_per_request"]
        own = "-" if target == "direct" else f"{cpu['target']:.0f}"
        rows.append([
            target, f"{v['requests_per_s']:.0f}", f"{v['spread'][0]:.0f}-{v['spread'][1]:.0f}",
            *(f"{v[key]:.2f}" if v.get(key) and target != "direct" else "-" for key in ("ratio_to_nginx", "cpu_ratio_to_nginx")),
            f"{v['total_us']['p50']:.0f}", f"{v['total_us']['p99']:.0f}", *_added(v, "total_us"),
            _over_nginx(v), f"{own}, {cpu['upstream']:.0f}, {cpu['load']:.0f}", str(v["errors"]),
        ])
    return _table(head, rows)


def _paced_table(by_target, mode):
    head = ["target", "p50 us", "p99 us", "max us", "added p50", "added p99", "p99 over nginx"]
    if mode == "stream":
        head += ["first event p50", "first event p99", "added p50", "added p99"]
    head += ["errors"]
    rows = []
    for target, v in by_target.items():
        total, first = v["total_us"], v["first_us"]
        row = [target, *(f"{total[q]:.0f}" for q in ("p50", "p99", "max")), *_added(v, "total_us"), _over_nginx(v)]
        if mode == "stream":
            row += [f"{first['p50']:.0f}", f"{first['p99']:.0f}", *_added(v, "first_us")]
        rows.append([*row, str(v["errors"])])
    return _table(head, rows)


def _added(values, kind):
    added = values.get("added_to_direct_us")
    return [f"{added[kind][q]:.0f}" if added else "-" for q in ("p50", "p99")]


def _over_nginx(values):
    added = values.get("added_to_nginx_us")
    return f"{added['total_us']['p99']:.0f}" if added else "-"


def _wrk_row(name, found):
    def shown(value):
        return "-" if value is None else f"{value:.0f}"

    return [name, shown(found["requests_per_s"]), shown(found["p99_us"]), "some" if found["has_errors"] else "none"]


def _table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
